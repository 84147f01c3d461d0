rule score:
    input:
        tile="results/tile/{scene}/manifest.json",
        labels=ancient("results/tile/{scene}/labels.zarr"),
        classes=lambda wildcards: map_of(**wildcards),
    output:
        counts="results/score/{experiment}/seed-{seed}/{scene}.json",
    log:
        "logs/score/{experiment}/seed-{seed}/{scene}.log",
    benchmark:
        "benchmarks/score/{experiment}/seed-{seed}/{scene}.tsv"
    group:
        "score"
    conda:
        "../../envs/steps.yaml"
    resources:
        mem_mb=grown(2000),
        runtime=grown(60),
    params:
        step=params_for("score"),
        code=fingerprint("pipeline_steps.score"),
    shell:
        "python -m pipeline_steps.score --tile {input.tile:q} --classes {input.classes:q}"
        " --counts {output.counts:q} --experiment {wildcards.experiment:q}"
        " --seed {wildcards.seed} --params {params.step:q} 2> {log:q} || (tail -n 1 {log:q} >&2; false)"
