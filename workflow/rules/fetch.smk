rule fetch:
    input:
        files=lambda wildcards: paths.local_files(wildcards.model),
    # `update`, unless it is shared: what is there stays where the hub is out of reach, and is not downloaded again.
    output:
        config=kept("results/fetch/{model}/config.json"),
        weights=kept("results/fetch/{model}/model.safetensors"),
        preprocessor=kept("results/fetch/{model}/preprocessor_config.json"),
        manifest=kept("results/fetch/{model}/manifest.json"),
    log:
        "logs/fetch/{model}.log",
    benchmark:
        "benchmarks/fetch/{model}.tsv"
    cache: SHARES
    localrule: True
    conda:
        "../../envs/steps.yaml"
    params:
        # A licence that is stated changes no weights; `check` looks at it.
        step=lambda wildcards: as_json(
            study.config.fetch.models[wildcards.model].model_copy(update={"license": None})
        ),
        code=fingerprint("pipeline_steps.fetch"),
        model="{model}",
    shell:
        "HF_HUB_OFFLINE=0 python -m pipeline_steps.fetch --model {wildcards.model:q}"
        " --config {output.config:q} --weights {output.weights:q}"
        " --preprocessor {output.preprocessor:q} --manifest {output.manifest:q} --params {params.step:q}"
        " 2> {log:q} && (grep 'not for commercial use' {log:q} >&2 || true)"
        " || (tail -n 1 {log:q} >&2; false)"


share("fetch")
