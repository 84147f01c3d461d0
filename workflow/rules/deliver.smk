rule deliver:
    input:
        classes=lambda wildcards: paths.map_of(**wildcards),
        confidence=lambda wildcards: paths.map_of(**wildcards, kind="confidence"),
    output:
        delivery=directory("results/deliver/{experiment}/{run}/{scene}"),
    log:
        "logs/deliver/{experiment}/{run}/{scene}.log",
    benchmark:
        "benchmarks/deliver/{experiment}/{run}/{scene}.tsv"
    conda:
        "../../envs/steps.yaml"
    resources:
        mem_mb=grown(4000),
        runtime=grown(120),
    params:
        step=as_json(study.config.delivered),
        code=fingerprint("pipeline_steps.deliver"),
        looks=LOOKS,
    shell:
        "python -m pipeline_steps.deliver --classes {input.classes:q} --confidence {input.confidence:q}"
        " --delivery {output.delivery:q} --name {wildcards.experiment:q}_{wildcards.run:q}_{wildcards.scene:q}"
        " --looks {params.looks:q} --params {params.step:q} 2> {log:q} || (tail -n 1 {log:q} >&2; false)"
