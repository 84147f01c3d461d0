MEASURED = study.split("train") if study.config.stretch.percentiles else []


rule stretch:
    input:
        tiles=tiles(MEASURED),
        stores=tile_stores(MEASURED, "image", "valid"),
        splits=splits(MEASURED),
    output:
        stretch="results/stretch/stretch.json",
        manifest="results/stretch/manifest.json",
    log:
        "logs/stretch.log",
    benchmark:
        "benchmarks/stretch.tsv"
    conda:
        "../../envs/steps.yaml"
    resources:
        mem_mb=needs.mb("stretch"),
        runtime=needs.minutes("stretch"),
    params:
        step=params_for("stretch"),
        code=fingerprint("pipeline_steps.stretch"),
    shell:
        'python -m pipeline_steps.stretch --tiles-from "$(list {input.tiles:q})" --splits-from "$(list {input.splits:q})"'
        " --stretch {output.stretch:q} --params {params.step:q} 2> {log:q} || (tail -n 1 {log:q} >&2; false)"
