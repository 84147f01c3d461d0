import pytest

from pipeline_steps.study import fingerprint as subject
from pipeline_steps.study.fingerprint import fingerprint, imports_of, libraries_of, versions_of

SOURCES = {
    "pkg/__init__.py": '"""A package."""\n',
    "pkg/step.py": '''"""A step."""

from pkg.deep import params
from pkg.helper import double


def run(x):
    """Return twice x."""
    return double(x) + params.shift  # and a bit
''',
    "pkg/helper.py": "import numpy as np\nimport pkg.leaf as leaf\n\n\n"
    "def double(x):\n    return leaf.two() * np.asarray(x)\n",
    "pkg/leaf.py": "def two():\n    return 2\n",
    "pkg/deep/__init__.py": "",
    "pkg/deep/params.py": "class Params:\n    size: int = 3\n"
    '    """Size in pixels."""\n\n\nshift = 1\n',
    "pkg/other.py": "import torch\n\nfrom pkg import helper\n",
}
CACHED = ("fingerprint", "imports_of", "_version", "_read", "_source")


def forget():
    for name in CACHED:
        getattr(subject, name).cache_clear()


@pytest.fixture
def package(tmp_path, monkeypatch):
    for name, text in SOURCES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(subject, "ROOT", tmp_path)
    forget()
    yield tmp_path
    forget()


def edit(package, name, old, new):
    file = package / name
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    forget()


def test_the_same_code_has_the_same_fingerprint(package):
    before = fingerprint("pkg.step")
    forget()

    assert fingerprint("pkg.step") == before
    assert len(before) == 16 and int(before, 16) >= 0


@pytest.mark.parametrize(
    "name, old, new",
    [
        ("pkg/step.py", "  # and a bit", "  # and another remark"),
        ("pkg/step.py", "Return twice x.", "Return x, twice."),
        ("pkg/step.py", '    """Return twice x."""\n', ""),
        ("pkg/step.py", '"""A step."""', '"""The step."""'),
        ("pkg/step.py", "\n\n\ndef run", "\n\n\n\n# here it goes\ndef run"),
        ("pkg/step.py", "double(x) + params.shift", "(double(x)\n            + params.shift)"),
        ("pkg/deep/params.py", '"""Size in pixels."""', '"""Height and width in pixels."""'),
        ("pkg/helper.py", "def double(x):\n", 'def double(x):\n    """Double."""\n'),
    ],
)
def test_comments_docstrings_descriptions_and_layout_keep_it(package, name, old, new):
    before = fingerprint("pkg.step")

    edit(package, name, old, new)

    assert fingerprint("pkg.step") == before


@pytest.mark.parametrize(
    "name, old, new",
    [
        ("pkg/step.py", "double(x) +", "double(x) -"),
        ("pkg/helper.py", "two() *", "two() +"),
        ("pkg/leaf.py", "return 2", "return 3"),
        ("pkg/deep/params.py", "size: int = 3", "size: int = 4"),
        ("pkg/deep/params.py", "shift = 1", "shift = '1'"),
        ("pkg/deep/__init__.py", "", "import sys\n"),
        ("pkg/__init__.py", '"""A package."""\n', "SWITCH = True\n"),
    ],
)
def test_code_of_the_step_and_of_all_it_imports_alters_it(package, name, old, new):
    before = fingerprint("pkg.step")

    edit(package, name, old, new)

    assert fingerprint("pkg.step") != before


def test_code_that_the_step_does_not_reach_keeps_it(package):
    before = fingerprint("pkg.step")

    edit(package, "pkg/other.py", "import torch", "import torch, os")

    assert fingerprint("pkg.step") == before


def test_a_new_import_alters_it_and_follows_what_it_reaches(package):
    before = fingerprint("pkg.step")

    edit(package, "pkg/leaf.py", "def two", "import pkg.other\n\n\ndef two")

    assert fingerprint("pkg.step") != before
    assert "pkg.other" in imports_of("pkg.step")


def test_imports_are_followed_through_functions_and_circles(package):
    edit(package, "pkg/leaf.py", "return 2", "from pkg import step, other\n    return 2")

    assert imports_of("pkg.leaf") >= {"pkg.step", "pkg.other", "pkg.helper", "pkg.deep.params"}


def test_several_modules_have_a_fingerprint_together(package):
    together = fingerprint("pkg.step", "pkg.other")

    assert together == fingerprint("pkg.other", "pkg.step")
    assert together not in (fingerprint("pkg.step"), fingerprint("pkg.other"))


def test_relative_imports_are_refused(package):
    edit(package, "pkg/helper.py", "import pkg.leaf as leaf", "from . import leaf")

    with pytest.raises(ValueError, match=r"pkg\.helper has a relative import"):
        fingerprint("pkg.step")


def test_libraries_are_all_that_is_reached_outside_the_package(package):
    assert libraries_of("pkg.step") == {"numpy"}
    assert libraries_of("pkg.other") == {"torch", "numpy"}


def test_another_version_of_a_computing_library_alters_it(package, monkeypatch):
    before = fingerprint("pkg.step")
    versions = {"numpy": "99.0"}

    monkeypatch.setattr(subject.metadata, "version", versions.__getitem__)
    forget()

    assert versions_of("pkg.step") == versions
    assert fingerprint("pkg.step") != before


def test_versions_of_other_libraries_do_not_count(package):
    edit(package, "pkg/leaf.py", "def two", "import yaml\n\n\ndef two")

    assert "yaml" in libraries_of("pkg.step")
    assert versions_of("pkg.step").keys() == {"numpy"}


def test_what_makes_pixels_of_files_belongs_to_the_code_of_tiling():
    libraries = {"numpy", "rasterio", "pyogrio", "shapely", "scipy", "zarr"}
    assert versions_of("pipeline_steps.tile").keys() >= libraries
