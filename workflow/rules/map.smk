# The one stage that asks for no study: `--config` says which image is mapped with which bundles.
NAME = asked.scene.name if asked else "image"
OUTPUTS = asked.params.outputs if asked else []


rule map:
    input:
        models=of_asked(lambda asked: asked.bundles),
        files=of_asked(lambda asked: asked.files),
    output:
        maps=map_files(
            asked.folder if asked else "results/map/image",
            OUTPUTS,
            asked and asked.scene.is_folder,
        ),
        manifest="{}/map.json".format(asked.folder if asked else "results/map/image"),
    log:
        f"logs/map/{NAME}.log",
    benchmark:
        f"benchmarks/map/{NAME}.tsv"
    conda:
        "../../envs/steps.yaml"
    threads: NETWORK_THREADS
    resources:
        gpu=1,
        mem_mb=needs.mb("map"),
        runtime=needs.minutes("map"),
    params:
        name=NAME,
        step=of_asked(lambda asked: as_json(asked.params)),
        code=of_asked(lambda asked: fingerprint("pipeline_steps.map", *asked.modules)),
        image=of_asked(lambda asked: asked.image),
    shell:
        "python -m pipeline_steps.map --name {params.name:q} --image {params.image:q} --models {input.models:q}"
        " --maps {output.maps:q} --manifest {output.manifest:q} --params {params.step:q}"
        " 2> {log:q} || (tail -n 1 {log:q} >&2; false)"
