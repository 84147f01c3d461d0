rule train:
    input:
        tiles=lambda wildcards: tiles(learned(wildcards)),
        stores=lambda wildcards: tile_stores(used(wildcards), "image", "labels"),
        depths=depths_of(learned),
        validation=lambda wildcards: tiles(watched(wildcards)),
        validation_depths=depths_of(watched),
        splits=lambda wildcards: splits(used(wildcards)),
        stretch="results/stretch/stretch.json",
        stretched=ancient("results/stretch/manifest.json"),
        encoder=lambda wildcards: paths.encoder(wildcards.experiment),
        depth_encoder=lambda wildcards: paths.depth_encoder(wildcards.experiment),
    output:
        model="results/train/{experiment}/{run}/model.safetensors",
        history="results/train/{experiment}/{run}/history.csv",
        panels=directory("results/train/{experiment}/{run}/panels"),
        manifest="results/train/{experiment}/{run}/manifest.json",
    log:
        "logs/train/{experiment}/{run}.log",
    benchmark:
        "benchmarks/train/{experiment}/{run}.tsv"
    wildcard_constraints:
        experiment=one_of(study.trainings),
    conda:
        "../../envs/steps.yaml"
    threads: NETWORK_THREADS
    resources:
        gpu=lambda wildcards: study.trainings[wildcards.experiment].devices,
        mem_mb=needs.mb("train"),
        runtime=needs.minutes("train"),
    params:
        step=lambda wildcards: as_json(study.trainings[wildcards.experiment]),
        code=network_code("train"),
        encoder=lambda wildcards, input: given("--encoder", input.encoder),
        depth_encoder=lambda wildcards, input: given("--depth-encoder", input.depth_encoder),
        python=lambda wildcards: python_on(study.trainings[wildcards.experiment].devices),
        run=lambda wildcards: Run.named(wildcards.run).flags,
    shell:
        "{params.python:q} -m pipeline_steps.train"
        ' --tiles-from "$(list {input.tiles:q})" --depths-from "$(list {input.depths:q})"'
        ' --validation-from "$(list {input.validation:q})"'
        ' --validation-depths-from "$(list {input.validation_depths:q})"'
        ' --splits-from "$(list {input.splits:q})" --stretch {input.stretch:q}'
        " {params.encoder:q} {params.depth_encoder:q} --model {output.model:q} --history {output.history:q}"
        " --panels {output.panels:q} --events logs/tensorboard/{wildcards.experiment}/{wildcards.run}"
        " --manifest {output.manifest:q} {params.run} --params {params.step:q} 2> {log:q}"
        " || ((grep '^error: ' {log:q} || cat {log:q}) | tail -n 1 >&2; false)"
