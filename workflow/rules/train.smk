rule train:
    input:
        tiles=tiles(study.split("train")),
        stores=tile_stores(study.split("train", "val"), "image", "labels"),
        depths=depths_of("train"),
        validation=tiles(study.split("val")),
        validation_depths=depths_of("val"),
        encoder=encoder_of,
    output:
        model="results/train/{experiment}/seed-{seed}/model.safetensors",
        history="results/train/{experiment}/seed-{seed}/history.csv",
        manifest="results/train/{experiment}/seed-{seed}/manifest.json",
    log:
        "logs/train/{experiment}/seed-{seed}.log",
    benchmark:
        "benchmarks/train/{experiment}/seed-{seed}.tsv"
    conda:
        "../../envs/steps.yaml"
    threads: 2
    resources:
        gpu=1,
        mem_mb=grown(16000),
        runtime=grown(1440),
    params:
        step=lambda wildcards: as_json(study.trainings[wildcards.experiment]),
        code=network_code("train"),
        encoder=lambda wildcards, input: (["--encoder", input.encoder] if input.encoder else []),
    shell:
        "python -m pipeline_steps.train --tiles {input.tiles:q} --depths {input.depths:q}"
        " --validation {input.validation:q} --validation-depths {input.validation_depths:q}"
        " {params.encoder:q} --model {output.model:q} --history {output.history:q}"
        " --manifest {output.manifest:q} --seed {wildcards.seed} --params {params.step:q} 2> {log:q} || (tail -n 1 {log:q} >&2; false)"
