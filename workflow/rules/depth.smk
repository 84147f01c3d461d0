rule depth:
    input:
        teacher=lambda wildcards: paths.teacher(wildcards.teacher),
        tile=of_scene("results/tile/{scene}/manifest.json"),
        stretch="results/stretch/stretch.json",
        stretched=ancient("results/stretch/manifest.json"),
        image=store("results/tile/{scene}/image.zarr"),
        valid=store("results/tile/{scene}/valid.zarr"),
        labels=store("results/tile/{scene}/labels.zarr"),
        elevation=store("results/tile/{scene}/elevation.zarr"),
    output:
        store=directory("results/depth/{teacher}/{scene}/depth.zarr"),
        quality="results/depth/{teacher}/{scene}/quality.json",
        manifest="results/depth/{teacher}/{scene}/manifest.json",
    log:
        "logs/depth/{teacher}/{scene}.log",
    benchmark:
        "benchmarks/depth/{teacher}/{scene}.tsv"
    cache: SHARES
    conda:
        "../../envs/steps.yaml"
    threads: NETWORK_THREADS
    resources:
        gpu=lambda wildcards: int(wildcards.teacher != ELEVATION),
        mem_mb=needs.mb("depth"),
        runtime=needs.minutes("depth"),
    params:
        step=lambda wildcards: as_json(study.teachers[wildcards.teacher].depth),
        code=fingerprint("pipeline_steps.depth"),
        teacher=lambda wildcards, input: ["--teacher", *input.teacher] if input.teacher else [],
    shell:
        "python -m pipeline_steps.depth {params.teacher:q} --tile {input.tile:q}"
        " --stretch {input.stretch:q}"
        " --store {output.store:q} --quality {output.quality:q}"
        " --manifest {output.manifest:q} --params {params.step:q} 2> {log:q} || (tail -n 1 {log:q} >&2; false)"


share("depth")
