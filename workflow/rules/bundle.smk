rule bundle:
    input:
        model="results/train/{experiment}/{run}/manifest.json",
        trained=ancient("results/train/{experiment}/{run}/model.safetensors"),
        tiles=lambda wildcards: tiles(learned(wildcards)),
        encoders=lambda wildcards: list(paths.encoders(wildcards.experiment)),
    output:
        weights="results/bundle/{experiment}/{run}/model.safetensors",
        manifest="results/bundle/{experiment}/{run}/bundle.json",
    log:
        "logs/bundle/{experiment}/{run}.log",
    benchmark:
        "benchmarks/bundle/{experiment}/{run}.tsv"
    wildcard_constraints:
        experiment=one_of(study.trainings),
    localrule: True
    conda:
        "../../envs/steps.yaml"
    params:
        step=as_json(study.config.bundled),
        code=fingerprint("pipeline_steps.bundle"),
        looks=LOOKS,
        predict=params_for("predict"),
        licences=lambda wildcards: as_json(paths.stated_licences(wildcards.experiment)),
    shell:
        "python -m pipeline_steps.bundle --name {wildcards.experiment:q}/{wildcards.run:q}"
        ' --model {input.model:q} --tiles-from "$(list {input.tiles:q})"'
        " --encoders {input.encoders:q} --licences {params.licences:q} --weights {output.weights:q} --manifest {output.manifest:q} --looks {params.looks:q}"
        " --predict {params.predict:q} --params {params.step:q} 2> {log:q} || (tail -n 1 {log:q} >&2; false)"
