rule predict:
    input:
        model="results/train/{experiment}/{run}/manifest.json",
        weights=ancient("results/train/{experiment}/{run}/model.safetensors"),
        tile="results/tile/{scene}/manifest.json",
        image=ancient("results/tile/{scene}/image.zarr"),
        depth=fed_to,
    output:
        classes="results/predict/{experiment}/{run}/{scene}/classes.tif",
        confidence="results/predict/{experiment}/{run}/{scene}/confidence.tif",
    log:
        "logs/predict/{experiment}/{run}/{scene}.log",
    benchmark:
        "benchmarks/predict/{experiment}/{run}/{scene}.tsv"
    wildcard_constraints:
        scene=one_of(name for name, scene in study.scenes.items() if not scene.is_folder),
    conda:
        "../../envs/steps.yaml"
    threads: NETWORK_THREADS
    resources:
        gpu=1,
        mem_mb=grown(8000),
        runtime=grown(240),
    params:
        step=params_for("predict"),
        code=network_code("predict"),
        looks=LOOKS,
        depth=lambda wildcards, input: ["--depth", *input.depth] if input.depth else [],
    shell:
        "python -m pipeline_steps.predict --model {input.model:q} --tile {input.tile:q}"
        " {params.depth:q} --classes {output.classes:q} --confidence {output.confidence:q}"
        " --looks {params.looks:q} --params {params.step:q} 2> {log:q} || (tail -n 1 {log:q} >&2; false)"


use rule predict as predict_folder with:
    output:
        classes=directory("results/predict/{experiment}/{run}/{scene}/classes"),
        confidence=directory("results/predict/{experiment}/{run}/{scene}/confidence"),
    wildcard_constraints:
        scene=one_of(name for name, scene in study.scenes.items() if scene.is_folder),
