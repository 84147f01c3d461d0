rule tile:
    input:
        files=lambda wildcards: paths.files_of([wildcards.scene]),
    output:
        image=directory("results/tile/{scene}/image.zarr"),
        labels=directory("results/tile/{scene}/labels.zarr"),
        valid=directory("results/tile/{scene}/valid.zarr"),
        elevation=directory("results/tile/{scene}/elevation.zarr"),
        manifest="results/tile/{scene}/manifest.json",
    log:
        "logs/tile/{scene}.log",
    benchmark:
        "benchmarks/tile/{scene}.tsv"
    group:
        "tile"
    conda:
        "../../envs/steps.yaml"
    resources:
        mem_mb=needs.mb("tile"),
        runtime=needs.minutes("tile"),
    params:
        step=lambda wildcards: as_json(study.reading(wildcards.scene).tile),
        code=fingerprint("pipeline_steps.tile"),
        classes=lambda wildcards: as_json(study.reading(wildcards.scene).classes),
        row=lambda wildcards: paths.row_of(wildcards.scene),
    # thousands of names are too long for a command: the step reads its row of the table
    shell:
        'python -m pipeline_steps.tile --scene {wildcards.scene:q} --table "$SCENE_TABLE"'
        ' --root "$SCENE_ROOT" --image {output.image:q} --labels {output.labels:q}'
        " --valid {output.valid:q} --elevation {output.elevation:q}"
        " --manifest {output.manifest:q} --classes {params.classes:q}"
        " --params {params.step:q} 2> {log:q} || (tail -n 1 {log:q} >&2; false)"
