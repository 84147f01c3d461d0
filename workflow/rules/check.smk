rule check:
    input:
        table=study.table,
        files=every_file("images", "labels", "elevation"),
        beside=sidecars(every_file("images", "labels", "elevation")),
    output:
        findings="results/check/findings.json",
    log:
        "logs/check.log",
    benchmark:
        "benchmarks/check.tsv"
    # Before all else and alone, but no job depends on it: whatever made it stale would then make
    # every scene stale, and behind an `ancient` input Snakemake forgets other reasons to run.
    priority: 100
    localrule: True
    conda:
        "../../envs/steps.yaml"
    threads: 64
    params:
        step=params_for("check"),
        code=fingerprint("pipeline_steps.check"),
        root=lambda wildcards: study.root,
        classes=CODES,
        models=params_for("fetch"),
        tile=params_for("tile"),
    shell:
        "python -m pipeline_steps.check --table {input.table:q} --root {params.root:q}"
        " --findings {output.findings:q} --classes {params.classes:q}"
        " --models {params.models:q} --tile {params.tile:q} --params {params.step:q} 2> {log:q} || (tail -n 1 {log:q} >&2; false)"
