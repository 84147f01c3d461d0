from pipeline_steps.study.corruptions import tried


rule corrupt:
    input:
        models=of_members("manifest.json"),
        weights=ancient(of_members("model.safetensors")),
        tile=of_scene("results/tile/{scene}/manifest.json"),
        stores=lambda wildcards: tile_stores(
            [wildcards.scene], "image", "labels", "valid", "elevation"
        ),
        splits=lambda wildcards: splits([wildcards.scene]),
        depth=fed_to,
    output:
        counts="results/corrupt/{experiment}/{run}/{scene}.json",
        manifest="results/corrupt/{experiment}/{run}/{scene}/manifest.json",
    log:
        "logs/corrupt/{experiment}/{run}/{scene}.log",
    benchmark:
        "benchmarks/corrupt/{experiment}/{run}/{scene}.tsv"
    wildcard_constraints:
        experiment=one_of(tried(study)),
    conda:
        "../../envs/steps.yaml"
    threads: NETWORK_THREADS
    resources:
        gpu=1,
        mem_mb=needs.mb("corrupt"),
        runtime=needs.minutes("corrupt"),
    params:
        step=as_json(study.config.corrupted.model_copy(update={"scenes": None})),
        # what other maps there are matters to no count
        predict=as_json(study.config.predict.model_copy(update={"outputs": ()})),
        code=network_code("corrupt"),
        run=lambda wildcards: Run.named(wildcards.run).flags,
    shell:
        "python -m pipeline_steps.corrupt --models {input.models:q} --tile {input.tile:q}"
        " --splits {input.splits:q} --depths {input.depth:q} --counts {output.counts:q}"
        " --experiment {wildcards.experiment:q} {params.run}"
        " --predict {params.predict:q} --params {params.step:q} 2> {log:q} || (tail -n 1 {log:q} >&2; false)"
