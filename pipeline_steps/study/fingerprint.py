"""Name the code a step runs, so that a change makes that step stale and no other."""

import ast
import functools
import hashlib
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]

COMPUTING = {
    "numpy",
    "pyarrow",
    "pyogrio",
    "rasterio",
    "scipy",
    "shapely",
    "timm",
    "torch",
    "torchvision",
    "transformers",
    "zarr",
}
"""Libraries whose version can change a result, and so belongs to the code."""


@functools.cache
def fingerprint(*modules: str) -> str:
    """Hash the meaning of ``modules``, of all they import from their package, and library versions.

    Comments, docstrings and layout do not count: they cannot change a result. Rules ask once for
    each of their jobs, so what a process has found it keeps.
    """
    reached = sorted(set().union(*map(imports_of, modules)))
    digest = hashlib.sha256()
    for name in reached:
        digest.update(f"{name} {_read(name).meaning}\n".encode())
    for library, version in versions_of(*modules).items():
        digest.update(f"{library} {version}\n".encode())
    return digest.hexdigest()[:16]


@functools.cache
def imports_of(module: str) -> frozenset[str]:
    """Return ``module`` and every module of its package that it reaches by import."""
    package, found, pending = module.partition(".")[0], set(), [module]
    while pending:
        name = pending.pop()
        if name in found or not _source(name):
            continue
        found.add(name)
        # importing a module runs the packages that it lies in
        pending += [name.rpartition(".")[0]] if "." in name else []
        pending += [n for n in _read(name).imported if n.partition(".")[0] == package]
    return frozenset(found)


def libraries_of(module: str) -> set[str]:
    """Return the top-level names of everything outside the package that ``module`` reaches."""
    package = module.partition(".")[0]
    names = {n.partition(".")[0] for reached in imports_of(module) for n in _read(reached).imported}
    return names - {package}


def versions_of(*modules: str) -> dict[str, str]:
    """Return the installed version of every computing library that ``modules`` reach."""
    used = set().union(*map(libraries_of, modules)) & COMPUTING
    return {library: _version(library) for library in sorted(used)}


@functools.cache
def _version(library: str) -> str:
    return metadata.version(library)


class _Read(NamedTuple):
    """What counts of a module's text."""

    meaning: str
    imported: tuple[str, ...]


@functools.cache
def _read(module: str) -> _Read:
    """Walk a module's syntax once: a study has a hundred, and every call of Snakemake reads all."""
    words: list[str] = []
    imported: list[str] = []
    _walk(ast.parse(_source(module).read_text()), words, imported, module)
    return _Read(hashlib.sha256("\n".join(words).encode()).hexdigest(), tuple(imported))


def _walk(node: Any, words: list[str], imported: list[str], module: str) -> None:
    """Add the kind of ``node`` and its fields to ``words``, without docstrings and places."""
    if not isinstance(node, ast.AST):
        words.append(repr(node))
        return
    words.append(type(node).__name__)
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        imported += _imported(node, module)
    for field in node._fields:
        value = getattr(node, field, None)
        if isinstance(value, list):
            meant = [one for one in value if not _is_docstring(one)]
            # so that no two trees have the same words
            words.append(str(len(meant)))
            for one in meant:
                _walk(one, words, imported, module)
        # whether a name is read or bound follows from where it stands
        elif field != "ctx":
            _walk(value, words, imported, module)


def _imported(node: ast.Import | ast.ImportFrom, module: str) -> list[str]:
    names = [alias.name for alias in node.names]
    if isinstance(node, ast.Import):
        return names
    if node.level:
        raise ValueError(f"{module} has a relative import; spell out the package")
    return [node.module, *(f"{node.module}.{name}" for name in names)]


def _is_docstring(node: Any) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


@functools.cache
def _source(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    files = base.with_suffix(".py"), base / "__init__.py"
    return next((file for file in files if file.is_file()), None)
