rule report:
    input:
        tiles=tiles(study.split("test")),
        stores=tile_stores(study.split("test"), "image", "labels", "elevation"),
        depths=depths(study.teachers_used(), study.split("test")),
        maps=paths.first_maps(),
        splits=splits(study.split("test")),
        stretch="results/stretch/stretch.json",
        histories=paths.histories(),
        panels=ancient(paths.panels()),
        tables=expand("results/tabulate/{table}.csv", table=TABLES),
        template=f"{workflow.basedir}/workflow/report/index.html.jinja",
    output:
        page="results/report/index.html",
        figures=report(
            directory("results/report/figures"),
            patterns=["{figure}.png"],
            caption="../report/figures.rst",
            category="Figures",
        ),
    log:
        "logs/report.log",
    benchmark:
        "benchmarks/report.tsv"
    localrule: True
    conda:
        "../../envs/steps.yaml"
    params:
        step=params_for("report"),
        code=fingerprint("pipeline_steps.report"),
        looks=LOOKS,
        prompts=as_json(paths.prompts()),
    shell:
        "python -m pipeline_steps.report --tiles {input.tiles:q} --depths {input.depths:q}"
        " --maps {input.maps:q} --histories {input.histories:q} --panels {input.panels:q}"
        " --tables {input.tables:q}"
        " --splits {input.splits:q} --stretch {input.stretch:q}"
        " --page {output.page:q} --figures {output.figures:q}"
        " --looks {params.looks:q} --prompts {params.prompts:q}"
        " --template {input.template:q} --params {params.step:q} 2> {log:q} || (tail -n 1 {log:q} >&2; false)"
