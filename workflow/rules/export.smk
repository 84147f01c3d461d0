rule export:
    input:
        model="results/bundle/{experiment}/{run}/bundle.json",
        weights=ancient("results/bundle/{experiment}/{run}/model.safetensors"),
    output:
        files=expand(
            "results/export/{{experiment}}/{{run}}/model.{end}",
            end=["onnx", "xml", "bin"] if study.config.exported.openvino else ["onnx"],
        ),
        manifest="results/export/{experiment}/{run}/manifest.json",
    log:
        "logs/export/{experiment}/{run}.log",
    benchmark:
        "benchmarks/export/{experiment}/{run}.tsv"
    wildcard_constraints:
        experiment=one_of(study.trainings),
    conda:
        "../../envs/steps.yaml"
    threads: NETWORK_THREADS
    resources:
        mem_mb=needs.mb("export"),
        runtime=needs.minutes("export"),
    params:
        step=as_json(study.config.exported),
        code=network_code("export"),
    shell:
        "python -m pipeline_steps.export --model {input.model:q} --files {output.files:q}"
        " --manifest {output.manifest:q} --params {params.step:q} 2> {log:q} || (tail -n 1 {log:q} >&2; false)"
