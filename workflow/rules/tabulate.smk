TABLES = ("overall", "classes", "scenes", "strata", "depth")


rule tabulate:
    input:
        counts=expand(
            per_training("results/score/{experiment}/seed-{seed}/{scene}.json"),
            scene=study.split("test"),
        ),
        qualities=[
            f"results/depth/{teacher}/{scene}/quality.json"
            for teacher in study.teachers()
            for scene in study.split("test")
        ],
    output:
        report(
            expand("results/tabulate/{table}.html", table=TABLES),
            caption="../report/tables.rst",
            category="Tables",
        ),
        expand("results/tabulate/{table}.{kind}", table=TABLES, kind=("csv", "md", "tex")),
    log:
        "logs/tabulate.log",
    benchmark:
        "benchmarks/tabulate.tsv"
    localrule: True
    conda:
        "../../envs/steps.yaml"
    params:
        step=params_for("tabulate"),
        code=fingerprint("pipeline_steps.tabulate"),
    shell:
        "python -m pipeline_steps.tabulate --counts {input.counts:q}"
        " --qualities {input.qualities:q} --folder results/tabulate"
        " --params {params.step:q} 2> {log:q} || (tail -n 1 {log:q} >&2; false)"
