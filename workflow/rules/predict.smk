rule predict:
    input:
        models=of_members("manifest.json"),
        weights=ancient(of_members("model.safetensors")),
        tile=of_scene("results/tile/{scene}/manifest.json"),
        image=ancient("results/tile/{scene}/image.zarr"),
        valid=ancient("results/tile/{scene}/valid.zarr"),
        depth=fed_to,
    output:
        maps=map_files("results/predict/{experiment}/{run}/{scene}", study.config.predict.outputs),
        manifest="results/predict/{experiment}/{run}/{scene}/manifest.json",
    log:
        "logs/predict/{experiment}/{run}/{scene}.log",
    benchmark:
        "benchmarks/predict/{experiment}/{run}/{scene}.tsv"
    wildcard_constraints:
        scene=scene_of([name for name, scene in study.scenes.items() if not scene.is_folder]),
    conda:
        "../../envs/steps.yaml"
    threads: NETWORK_THREADS
    resources:
        gpu=1,
        mem_mb=needs.mb("predict"),
        runtime=needs.minutes("predict"),
    params:
        step=params_for("predict"),
        code=network_code("predict"),
        looks=LOOKS,
    shell:
        "python -m pipeline_steps.predict --models {input.models:q} --tile {input.tile:q}"
        " --depths {input.depth:q} --maps {output.maps:q}"
        " --looks {params.looks:q} --params {params.step:q} 2> {log:q} || (tail -n 1 {log:q} >&2; false)"


use rule predict as predict_folder with:
    output:
        maps=map_files(
            "results/predict/{experiment}/{run}/{scene}", study.config.predict.outputs, True
        ),
        manifest="results/predict/{experiment}/{run}/{scene}/manifest.json",
    wildcard_constraints:
        scene=scene_of([name for name, scene in study.scenes.items() if scene.is_folder]),
