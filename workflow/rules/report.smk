FIRST = paths.first_runs()
MAPS = [paths.map_of(*one) for one in FIRST]
COUNTS = [paths.count_of(*one) for one in FIRST]
CORRUPTED = paths.first_corruptions()
PAGE = f"{workflow.basedir}/workflow/report/page"
PARTS = ["page.css", "tables.js", "viewer.js", "leaflet/leaflet.js", "leaflet/leaflet.css"]
PARTS += ["../figures.rst", *(f"../tables/{table}.rst" for table in TABLES)]


rule report:
    input:
        tiles=tiles(study.split("test")),
        stores=tile_stores(study.split("test"), "image", "labels", "elevation"),
        depths=depths(study.teachers_used(), study.split("test")),
        maps=MAPS,
        confidences=[path for one in FIRST for path in paths.beside("confidence", *one)],
        counts=COUNTS,
        corruptions=CORRUPTED,
        models=paths.models(),
        weights=expand("results/fetch/{m}/manifest.json", m=study.fetched().models),
        splits=splits(study.split("test")),
        stretch="results/stretch/stretch.json",
        histories=paths.histories(),
        panels=ancient(paths.panels()),
        tables=expand("results/tabulate/{table}.csv", table=TABLES),
        tabulated="results/tabulate/manifest.json",
        told=ancient(
            [*paths.manifests_of([*MAPS, *COUNTS, *CORRUPTED]), "results/stretch/manifest.json"]
        ),
        template=f"{PAGE}/index.html.jinja",
        parts=[f"{PAGE}/{name}" for name in PARTS],
    output:
        page="results/report/index.html",
        manifest="results/report/manifest.json",
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
        about=as_json(paths.about(workflow.configfiles)),
    shell:
        'python -m pipeline_steps.report --tiles-from "$(list {input.tiles:q})"'
        ' --depths-from "$(list {input.depths:q})"'
        ' --maps-from "$(list {input.maps:q})"'
        ' --confidences-from "$(list {input.confidences:q})"'
        ' --counts-from "$(list {input.counts:q})"'
        ' --corruptions-from "$(list {input.corruptions:q})"'
        ' --models-from "$(list {input.models:q})" --weights-from "$(list {input.weights:q})"'
        ' --histories-from "$(list {input.histories:q})"'
        ' --panels-from "$(list {input.panels:q})" --tables-from "$(list {input.tables:q})"'
        ' --splits-from "$(list {input.splits:q})" --stretch {input.stretch:q}'
        " --page {output.page:q} --figures {output.figures:q}"
        " --looks {params.looks:q} --prompts {params.prompts:q} --about {params.about:q}"
        " --template {input.template:q} --params {params.step:q} 2> {log:q} || (tail -n 1 {log:q} >&2; false)"
