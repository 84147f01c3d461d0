rule synthesize:
    output:
        image="results/synthesize/{scene}/image.tif",
        labels="results/synthesize/{scene}/labels.tif",
        elevation="results/synthesize/{scene}/elevation.tif",
        manifest="results/synthesize/{scene}/manifest.json",
    log:
        "logs/synthesize/{scene}.log",
    benchmark:
        "benchmarks/synthesize/{scene}.tsv"
    # it reads nothing of the table that would refuse other names
    wildcard_constraints:
        scene=one_of(study.scenes),
    group:
        "synthesize"
    conda:
        "../../envs/steps.yaml"
    resources:
        mem_mb=needs.mb("synthesize"),
        runtime=needs.minutes("synthesize"),
    params:
        step=params_for("synthesize"),
        code=fingerprint("pipeline_steps.synthesize"),
    shell:
        "python -m pipeline_steps.synthesize --scene {wildcards.scene:q}"
        " --image {output.image:q} --labels {output.labels:q}"
        " --elevation {output.elevation:q} --params {params.step:q} 2> {log:q} || (tail -n 1 {log:q} >&2; false)"
