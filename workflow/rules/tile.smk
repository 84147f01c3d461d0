rule tile:
    input:
        images=files_of("images"),
        labels=files_of("labels"),
        elevation=files_of("elevation"),
        beside=lambda wildcards: sidecars(files_of("images", "labels", "elevation")(wildcards)),
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
    conda:
        "../../envs/steps.yaml"
    resources:
        mem_mb=grown(2000),
        runtime=grown(60),
    params:
        step=params_for("tile"),
        code=fingerprint("pipeline_steps.tile"),
        classes=CODES,
        folder=lambda wildcards: int(study.scenes[wildcards.scene].is_folder),
    shell:
        "python -m pipeline_steps.tile --scene {wildcards.scene:q} --folder {params.folder}"
        " --images {input.images:q} --label-files {input.labels:q}"
        " --elevation-files {input.elevation:q} --image {output.image:q}"
        " --labels {output.labels:q} --valid {output.valid:q} --elevation {output.elevation:q}"
        " --manifest {output.manifest:q} --classes {params.classes:q}"
        " --params {params.step:q} 2> {log:q} || (tail -n 1 {log:q} >&2; false)"
