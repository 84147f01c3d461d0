rule check:
    input:
        table=study.table,
        files=paths.files_of(study.scenes),
    output:
        findings="results/check/findings.json",
        manifest="results/check/manifest.json",
    log:
        "logs/check.log",
        record="logs/check.json",
        text="logs/check.txt",
    benchmark:
        "benchmarks/check.tsv"
    # Before all else and alone, but only the tables depend on it: whatever made it stale would then make
    # every scene stale, and behind an `ancient` input Snakemake forgets other reasons to run.
    # Scenes that are drawn first keep cores busy, and a job that wants all would wait to the end.
    priority: 100
    localrule: True
    conda:
        "../../envs/steps.yaml"
    threads: 1 if study.config.synthesize else 64
    params:
        step=params_for("check"),
        code=fingerprint("pipeline_steps.check"),
        root=lambda wildcards: study.root,
        readings=as_json(study.readings),
        models=as_json(study.fetched()),
        split=params_for("split"),
        plan=as_json(plan_of(study)),
    # The tables are shown whatever was found, and outlive a failure, as logs do.
    shell:
        "rm -f {log.text:q}; status=0; python -m pipeline_steps.check --table {input.table:q} --root {params.root:q}"
        " --findings {output.findings:q} --record {log.record:q} --text {log.text:q}"
        " --readings {params.readings:q} --models {params.models:q}"
        ' --split {params.split:q} --plan-from "$(list {params.plan:q})" --params {params.step:q}'
        " 2> {log[0]:q} || status=$?; cat {log.text:q} 2> /dev/null || true;"
        " [ $status = 0 ] || (tail -n 1 {log[0]:q} >&2; false)"
