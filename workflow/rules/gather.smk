QUALITIES = [
    f"results/depth/{teacher}/{scene}/quality.json"
    for teacher in study.teachers_used()
    for scene in study.split("test")
]


rule gather:
    input:
        counts=paths.counts(),
        corruptions=paths.corruptions(),
        qualities=QUALITIES,
        told=ancient(paths.manifests_of([*paths.counts(), *paths.corruptions(), *QUALITIES])),
    output:
        counts="results/gather/counts.jsonl",
        corruptions="results/gather/corruptions.jsonl",
        qualities="results/gather/qualities.jsonl",
        manifest="results/gather/manifest.json",
    log:
        "logs/gather.log",
    benchmark:
        "benchmarks/gather.tsv"
    localrule: True
    conda:
        "../../envs/steps.yaml"
    params:
        code=fingerprint("pipeline_steps.gather"),
    shell:
        'python -m pipeline_steps.gather --counts-from "$(list {input.counts:q})"'
        ' --corruptions-from "$(list {input.corruptions:q})"'
        ' --qualities-from "$(list {input.qualities:q})"'
        " --folder results/gather 2> {log:q} || (tail -n 1 {log:q} >&2; false)"
