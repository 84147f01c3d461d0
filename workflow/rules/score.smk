rule score:
    input:
        tile=of_scene("results/tile/{scene}/manifest.json"),
        labels=ancient("results/tile/{scene}/labels.zarr"),
        splits=lambda wildcards: splits([wildcards.scene]),
        strata="results/strata/{scene}/manifest.json",
        codes=ancient("results/strata/{scene}/strata.zarr"),
        classes=lambda wildcards: paths.map_of(**wildcards),
        mapped=ancient("results/predict/{experiment}/{run}/{scene}/manifest.json"),
        confidence=lambda wildcards: paths.beside("confidence", **wildcards),
        depth=lambda wildcards: paths.beside("depth", **wildcards),
        teacher=lambda wildcards: paths.learned_depth(wildcards.experiment, wildcards.scene),
    output:
        counts="results/score/{experiment}/{run}/{scene}.json",
        manifest="results/score/{experiment}/{run}/{scene}/manifest.json",
    log:
        "logs/score/{experiment}/{run}/{scene}.log",
    benchmark:
        "benchmarks/score/{experiment}/{run}/{scene}.tsv"
    group:
        "score"
    conda:
        "../../envs/steps.yaml"
    resources:
        mem_mb=needs.mb("score"),
        runtime=needs.minutes("score"),
    params:
        step=params_for("score"),
        code=fingerprint("pipeline_steps.score"),
        run=lambda wildcards: Run.named(wildcards.run).flags,
        sure=lambda wildcards, input: given("--confidence", input.confidence),
        depth=lambda wildcards, input: given("--depth", input.depth),
        teacher=lambda wildcards, input: given("--teacher", input.teacher),
    shell:
        "python -m pipeline_steps.score --tile {input.tile:q} --splits {input.splits:q}"
        " --strata {input.strata:q} --classes {input.classes:q} {params.sure:q}"
        " {params.depth:q} {params.teacher:q}"
        " --counts {output.counts:q} --experiment {wildcards.experiment:q}"
        " {params.run} --params {params.step:q} 2> {log:q} || (tail -n 1 {log:q} >&2; false)"
