rule adapt:
    input:
        base=lambda wildcards: paths.base(wildcards.teacher),
        tiles=lambda wildcards: tiles(taught(wildcards)),
        splits=lambda wildcards: splits(taught(wildcards)),
        stretch="results/stretch/stretch.json",
        stretched=ancient("results/stretch/manifest.json"),
        stores=lambda wildcards: tile_stores(taught(wildcards), "image", "elevation"),
    output:
        config="results/adapt/{teacher}/config.json",
        weights="results/adapt/{teacher}/model.safetensors",
        preprocessor="results/adapt/{teacher}/preprocessor_config.json",
        manifest="results/adapt/{teacher}/manifest.json",
    log:
        "logs/adapt/{teacher}.log",
    benchmark:
        "benchmarks/adapt/{teacher}.tsv"
    # others wait for it
    priority: 10
    conda:
        "../../envs/steps.yaml"
    threads: NETWORK_THREADS
    resources:
        gpu=1,
        mem_mb=needs.mb("adapt"),
        runtime=needs.minutes("adapt"),
    params:
        step=lambda wildcards: as_json(study.teachers[wildcards.teacher].adapt),
        code=fingerprint("pipeline_steps.adapt"),
    shell:
        'python -m pipeline_steps.adapt --base {input.base:q} --tiles-from "$(list {input.tiles:q})"'
        ' --splits-from "$(list {input.splits:q})" --stretch {input.stretch:q}'
        " --config {output.config:q} --weights {output.weights:q}"
        " --preprocessor {output.preprocessor:q} --manifest {output.manifest:q} --params {params.step:q} 2> {log:q} || (tail -n 1 {log:q} >&2; false)"
