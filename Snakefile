from snakemake.utils import min_version

min_version("9.20")


include: "workflow/rules/common.smk"


if study.config.synthesize:

    include: "workflow/rules/synthesize.smk"


include: "workflow/rules/check.smk"
include: "workflow/rules/fetch.smk"
include: "workflow/rules/tile.smk"
include: "workflow/rules/split.smk"
include: "workflow/rules/stretch.smk"
include: "workflow/rules/adapt.smk"
include: "workflow/rules/depth.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/bundle.smk"
include: "workflow/rules/predict.smk"
include: "workflow/rules/map.smk"
include: "workflow/rules/export.smk"
include: "workflow/rules/strata.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/corrupt.smk"
include: "workflow/rules/deliver.smk"
include: "workflow/rules/gather.smk"
include: "workflow/rules/tabulate.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        rules.map.output.manifest if asked else paths.goals(),
    localrule: True
