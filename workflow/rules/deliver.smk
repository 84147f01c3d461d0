rule deliver:
    input:
        maps=lambda wildcards: paths.maps_of(**wildcards),
        mapped=ancient("results/predict/{experiment}/{run}/{scene}/manifest.json"),
    output:
        delivery=directory("results/deliver/{experiment}/{run}/{scene}"),
    log:
        "logs/deliver/{experiment}/{run}/{scene}.log",
    benchmark:
        "benchmarks/deliver/{experiment}/{run}/{scene}.tsv"
    group:
        "deliver"
    conda:
        "../../envs/steps.yaml"
    resources:
        mem_mb=needs.mb("deliver"),
        runtime=needs.minutes("deliver"),
    params:
        step=as_json(study.config.delivered),
        code=fingerprint("pipeline_steps.deliver"),
        looks=LOOKS,
        name="{experiment}_{run}_{scene}",
    shell:
        "python -m pipeline_steps.deliver --maps {input.maps:q}"
        " --delivery {output.delivery:q} --name {params.name:q}"
        " --looks {params.looks:q} --params {params.step:q} 2> {log:q} || (tail -n 1 {log:q} >&2; false)"


# What is made of a map that was asked for on the command line: its own target, as `map` is.
use rule deliver as deliver_map with:
    input:
        maps=of_asked(
            lambda asked: (
                rules.map.output.maps
                if "confidence" in OUTPUTS
                else sys.exit("error: --config: outputs has no confidence, expected it to deliver")
            )
        ),
        mapped=ancient(rules.map.output.manifest),
    output:
        delivery=directory("{}/delivery".format(asked.folder if asked else "results/map/image")),
    log:
        f"logs/deliver/map/{NAME}.log",
    benchmark:
        f"benchmarks/deliver/map/{NAME}.tsv"
    params:
        step=of_asked(lambda asked: as_json(asked.deliver)),
        code=fingerprint("pipeline_steps.deliver"),
        looks=of_asked(lambda asked: as_json(asked.looks)),
        name=NAME,
