TABLES = ["overall", *(["ablation"] if study.cells() else [])]
TABLES += ["differences", "classes", "confusion", "scenes"]
TABLES += [*(["transfer"] if paths.transfer().targets else []), "strata"]
TABLES += ["corruptions"] if paths.corruptions() else []
TABLES += ["pairs"] if study.config.tabulate.pairs else []
TABLES += ["calibration", "reliability", "cost", "depth", "depth_classes"]
# of maps of depth, where a network predicts any
PREDICTING = [name for name in study.experiments if paths.learned_depth(name, "any")]
TABLES += ["depth_predicted"] if PREDICTING and study.split("test") else []


rule tabulate:
    input:
        counts="results/gather/counts.jsonl",
        corruptions="results/gather/corruptions.jsonl",
        qualities="results/gather/qualities.jsonl",
        told=ancient("results/gather/manifest.json"),
        splits=splits(study.split("test")),
        models=paths.models(),
        findings="results/check/findings.json",
    output:
        *[
            report(
                f"results/tabulate/{table}.html",
                caption=f"../report/tables/{table}.rst",
                category="Tables",
                labels={"table": table.replace("_", " ")},
            )
            for table in TABLES
        ],
        expand("results/tabulate/{table}.{kind}", table=TABLES, kind=("csv", "md", "tex")),
        manifest="results/tabulate/manifest.json",
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
        cells=as_json(study.cells()),
        transfer=as_json(paths.transfer()),
    shell:
        "python -m pipeline_steps.tabulate --counts {input.counts:q} --qualities {input.qualities:q}"
        " --corruptions {input.corruptions:q} --folder results/tabulate"
        ' --splits-from "$(list {input.splits:q})" --findings {input.findings:q}'
        ' --models-from "$(list {input.models:q})" --benchmarks benchmarks'
        " --transfer {params.transfer:q} --cells {params.cells:q} --params {params.step:q} 2> {log:q} || (tail -n 1 {log:q} >&2; false)"
