rule split:
    input:
        tile=of_scene("results/tile/{scene}/manifest.json"),
        image=ancient("results/tile/{scene}/image.zarr"),
        labels=ancient("results/tile/{scene}/labels.zarr"),
    output:
        picture=report(
            "results/split/{scene}/split.png",
            caption="../report/split.rst",
            category="Splits",
        ),
        manifest="results/split/{scene}/manifest.json",
    log:
        "logs/split/{scene}.log",
    benchmark:
        "benchmarks/split/{scene}.tsv"
    wildcard_constraints:
        scene=scene_of(study.divided(study.scenes)),
    group:
        "split"
    conda:
        "../../envs/steps.yaml"
    resources:
        mem_mb=needs.mb("split"),
        runtime=needs.minutes("split"),
    params:
        step=params_for("split"),
        code=fingerprint("pipeline_steps.split"),
    shell:
        "python -m pipeline_steps.split --tile {input.tile:q} --picture {output.picture:q}"
        " --manifest {output.manifest:q} --params {params.step:q} 2> {log:q} || (tail -n 1 {log:q} >&2; false)"
