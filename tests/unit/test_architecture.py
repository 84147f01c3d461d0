"""How the house is built: who may import whom, one word per stage, and nothing grows too long."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_steps.study.config import Study

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "pipeline_steps"
RULES = ROOT / "workflow" / "rules"

MODULES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for file in sorted(PACKAGE.rglob("*.py"))
}
COMMANDS = ("lineage",)
"""What a user calls after a run: a command line, and no stage."""

STEPS = [
    f"pipeline_steps.{f.stem}"
    for f in sorted(PACKAGE.glob("*.py"))
    if f.stem not in ("__init__", *COMMANDS)
]
SECTIONLESS = {"gather", "map"}
"""Stages that no study sets: one has no choice to make, the other is told on the command line."""

STAGES = [file.stem for file in sorted(RULES.glob("*.smk")) if file.stem != "common"]

MAY_IMPORT = {
    "step": {
        *("training", "mapping", "models", "inspection", "presentation"),
        *("rasters", "metrics", "study"),
    },
    "training": {"training", "models", "rasters"},
    "mapping": {"mapping", "models", "rasters", "study"},
    "models": {"models"},
    "inspection": {"inspection", "rasters", "study"},
    "presentation": {"presentation", "rasters", "metrics", "study"},
    "rasters": {"rasters"},
    "metrics": {"metrics"},
    "study": {"study"},
    **{command: {"study"} for command in COMMANDS},
}
LIGHT = ("study", "rasters", "metrics", "inspection", "presentation")
ONLY_IN = {
    "rasterio": {
        *("rasters/raster.py", "rasters/writing.py", "rasters/cube.py"),
        "rasters/outlines.py",
    },
    "zarr": {"rasters/store.py", "rasters/cube.py"},
    "pyogrio": {"rasters/vector.py", "rasters/polygon_files.py"},
    "pyarrow": {"rasters/polygon_files.py"},
}
HEAVY = (
    *("torch", "rasterio", "zarr", "numpy", "scipy", "pandas", "transformers", "timm"),
    *("shapely", "pyogrio", "pyarrow"),
)


def layer(module):
    """Return the package a module lies in, or that it is a step."""
    return "step" if module in STEPS else [*module.split("."), "pipeline_steps"][1]


@functools.cache
def imports(module, everywhere=True):
    """Return the full names that a module imports, ours and others', at its top or everywhere."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    names = set()
    for node in ast.walk(tree) if everywhere else _at_the_top(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in MODULES else node.module for name in inner}
    return frozenset(names)


def _at_the_top(tree):
    """Yield what runs when a module is imported: all but the bodies of functions."""
    pending = [tree]
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            pending += ast.iter_child_nodes(node)


def reached(module):
    """Return everything, ours and others', that importing a module imports."""
    found, pending = set(), [module]
    while pending:
        name = pending.pop()
        parents = [".".join(name.split(".")[:n]) for n in range(1, name.count(".") + 1)]
        new = {name, *(p for p in parents if p in MODULES)} - found
        found |= new
        pending += [one for module in new if module in MODULES for one in imports(module, False)]
    return found


def libraries(names):
    return {name.partition(".")[0] for name in names}


# Who may import whom


def test_the_law_knows_every_package():
    packages = {f.parent.name for f in PACKAGE.glob("*/__init__.py")}

    assert packages == MAY_IMPORT.keys() - {"step", *COMMANDS}


@pytest.mark.parametrize("module", [name for name in MODULES if name != "pipeline_steps"])
def test_imports_run_down_one_way(module):
    ours = {name for name in imports(module) if name.partition(".")[0] == "pipeline_steps"}

    assert ours <= MODULES.keys()
    forbidden = {name for name in ours if layer(name) not in MAY_IMPORT[layer(module)]}
    assert not forbidden


def test_the_package_itself_imports_nothing():
    assert not imports("pipeline_steps")


@pytest.mark.parametrize("step", STEPS)
def test_a_step_never_reaches_another_step(step):
    assert reached(step) & set(STEPS) == {step}


@pytest.mark.parametrize("module", [name for name in MODULES if layer(name) in LIGHT])
def test_torch_stays_out_of_all_that_is_light(module):
    found = libraries(imports(module)) | libraries(reached(module))

    assert not found & {"torch", "torchvision", "timm", "transformers", "safetensors"}


@pytest.mark.parametrize("module", [n for n in MODULES if layer(n) in ("study", *COMMANDS)])
def test_the_study_reaches_no_library_that_computes(module):
    assert not libraries(reached(module)) & set(HEAVY)


@pytest.mark.parametrize("library", ONLY_IN)
def test_few_files_alone_know_the_library(library):
    users = {
        file.relative_to(PACKAGE).as_posix()
        for module, file in MODULES.items()
        if library in libraries(imports(module))
    }
    assert users == ONLY_IN[library]


def test_other_ways_to_gdal_are_not_taken():
    found = set().union(*(libraries(imports(module)) for module in MODULES))

    assert not found & {"osgeo", "gdal", "rioxarray", "fiona", "geopandas"}
    assert {"rasterio", "pyogrio", "zarr", "torch"} <= found


@pytest.mark.parametrize("library", ["rasterio", "zarr", "torch", "shapely", "pyogrio"])
def test_steps_that_only_count_and_print_reach_no_library_they_do_not_need(library):
    assert library not in libraries(reached("pipeline_steps.tabulate"))


def test_importing_the_study_loads_nothing_heavy():
    code = (
        "import sys, pipeline_steps.study.config, pipeline_steps.study.fingerprint;"
        "print(*sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(run.stdout.split())

    assert "pipeline_steps.study.scenes" in loaded
    assert not loaded & set(HEAVY)


IMPORT = re.compile(r"^\s*(?:from|import)\s+([\w.]+)(?:\s+import\s+(.+))?", re.MULTILINE)


def test_the_rules_import_only_the_study():
    found = {}
    for file in (ROOT / "Snakefile", *RULES.glob("*.smk")):
        for module, _ in IMPORT.findall(file.read_text(encoding="utf-8")):
            found.setdefault(module, file.name)
    ours = {module for module in found if module.startswith("pipeline_steps")}

    assert ours and all(module.startswith("pipeline_steps.study.") for module in ours), found
    others = libraries(found.keys() - ours)
    assert others <= sys.stdlib_module_names | {"snakemake"}, found


# One stage, one word


def test_every_stage_is_a_rule_file_a_step_and_a_section():
    sections = {name for name, field in Study.model_fields.items() if _is_section(field)}

    assert {f"pipeline_steps.{stage}" for stage in STAGES} == set(STEPS)
    assert set(STAGES) == sections | SECTIONLESS


def _is_section(field):
    return "pipeline_steps.study.params." in str(field.annotation)


def top_level(module):
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return defined, imported


@pytest.mark.parametrize("stage", STAGES)
def test_a_step_has_a_function_run_and_ends_as_a_command_line(stage):
    defined, _ = top_level(f"pipeline_steps.{stage}")

    assert "run" in defined
    assert 'if __name__ == "__main__":\n    cli.main(run)\n' in _step(stage).read_text()


# `fetch` knows one row of its section, `Model`, and not the section
@pytest.mark.parametrize("stage", [one for one in STAGES if one not in ("fetch", "gather")])
def test_a_step_knows_its_section_as_params(stage):
    defined, imported = top_level(f"pipeline_steps.{stage}")

    assert "Params" in defined | imported


@pytest.mark.parametrize("stage", [one for one in STAGES if one not in SECTIONLESS])
def test_the_section_of_a_stage_is_its_own_class(stage):
    assert f"pipeline_steps.study.params.{stage}.Params" in _annotation(stage)


def _annotation(stage):
    """Return a section's type in words; an optional section is a union, which prints its parts."""
    kind = Study.model_fields[stage].annotation
    return f"{kind.__module__}.{kind.__qualname__}" if isinstance(kind, type) else str(kind)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_its_tests(stage):
    file = ROOT / "tests" / "steps" / f"test_{stage}.py"

    assert "def test_" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("stage", STAGES)
def test_a_rule_calls_its_own_step_and_writes_below_its_own_name(stage):
    text = (RULES / f"{stage}.smk").read_text(encoding="utf-8")

    assert re.findall(r"^rule (\w+):", text, re.MULTILINE) == [stage]
    assert set(re.findall(r"python(?::q\})? -m ([\w.]+)", text)) == {f"pipeline_steps.{stage}"}
    assert set(re.findall(r"\"logs/(\w+)", text)) == {stage}
    assert set(re.findall(r"\"benchmarks/(\w+)", text)) == {stage}
    made = text.partition("    output:\n")[2].partition("    log:\n")[0]
    assert set(re.findall(r"\"results/(\w+)", made)) == {stage}


LOOKED_UP = re.compile(r"of_scene\(|paths\.(files_of|maps_of)\(|one_of\(study\.scenes\)")


def test_every_rule_of_a_scene_looks_it_up_in_the_table():
    """Its constraint is but the form of a name: each file of each job would be held against all."""
    found = {}
    for stage in STAGES:
        text = (RULES / f"{stage}.smk").read_text(encoding="utf-8")
        made = text.partition("    output:\n")[2].partition("    log:\n")[0]
        if "{scene}" in made:
            found[stage] = bool(LOOKED_UP.search(text))

    assert found.keys() >= {"tile", "predict", "score"} and all(found.values()), found


def test_the_snakefile_includes_every_rule_file_once():
    included = re.findall(r"include: \"workflow/rules/(\w+)\.smk\"", _text(ROOT / "Snakefile"))

    assert sorted(included) == sorted(["common", *STAGES])


# Nothing grows too long


def _step(stage):
    return PACKAGE / f"{stage}.py"


def _text(file):
    return file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "file, limit",
    [
        (ROOT / "Snakefile", 40),
        (RULES / "common.smk", 180),
        *((RULES / f"{stage}.smk", 120) for stage in STAGES),
        *((_step(stage), 200) for stage in STAGES),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else str(value),
)
def test_a_file_has_at_most_so_many_lines(file, limit):
    assert len(_text(file).splitlines()) <= limit


@pytest.mark.parametrize("module", MODULES)
def test_a_function_has_at_most_50_lines(module):
    tree = ast.parse(_text(MODULES[module]))
    functions = [
        n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]

    long = {f.name for f in functions if f.end_lineno - f.lineno + 1 > 50}
    assert not long
