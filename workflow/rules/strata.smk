rule strata:
    input:
        tile=of_scene("results/tile/{scene}/manifest.json"),
        stores=lambda wildcards: tile_stores(
            [wildcards.scene], "image", "labels", "valid", "elevation"
        ),
        stretch="results/stretch/stretch.json",
        stretched=ancient("results/stretch/manifest.json"),
    output:
        strata=directory("results/strata/{scene}/strata.zarr"),
        picture=report(
            "results/strata/{scene}/strata.png",
            caption="../report/strata.rst",
            category="Kinds of ground",
        ),
        manifest="results/strata/{scene}/manifest.json",
    log:
        "logs/strata/{scene}.log",
    benchmark:
        "benchmarks/strata/{scene}.tsv"
    group:
        "strata"
    conda:
        "../../envs/steps.yaml"
    resources:
        mem_mb=needs.mb("strata"),
        runtime=needs.minutes("strata"),
    params:
        step=params_for("strata"),
        code=fingerprint("pipeline_steps.strata"),
    shell:
        "python -m pipeline_steps.strata --tile {input.tile:q} --stretch {input.stretch:q}"
        " --strata {output.strata:q} --picture {output.picture:q}"
        " --manifest {output.manifest:q} --params {params.step:q} 2> {log:q} || (tail -n 1 {log:q} >&2; false)"
