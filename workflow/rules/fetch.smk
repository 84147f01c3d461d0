rule fetch:
    input:
        files=local_files_of_model,
    output:
        config="results/fetch/{model}/config.json",
        weights="results/fetch/{model}/model.safetensors",
        preprocessor="results/fetch/{model}/preprocessor_config.json",
        manifest="results/fetch/{model}/manifest.json",
    log:
        "logs/fetch/{model}.log",
    benchmark:
        "benchmarks/fetch/{model}.tsv"
    localrule: True
    conda:
        "../../envs/steps.yaml"
    params:
        step=lambda wildcards: as_json(
            study.config.fetch.models[wildcards.model].model_copy(update={"license": None})
        ),
        code=fingerprint("pipeline_steps.fetch"),
    shell:
        "HF_HUB_OFFLINE=0 python -m pipeline_steps.fetch --model {wildcards.model:q}"
        " --config {output.config:q} --weights {output.weights:q}"
        " --preprocessor {output.preprocessor:q} --manifest {output.manifest:q} --params {params.step:q} 2> {log:q} || (tail -n 1 {log:q} >&2; false)"
