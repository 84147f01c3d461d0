"""Name the code a step runs, so that a change makes that step stale and no other."""

import ast
import functools
import hashlib
from importlib import metadata
from pathlib import Path

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


def fingerprint(*modules: str) -> str:
    """Hash the meaning of ``modules``, of all they import from their package, and library versions.

    Comments, docstrings and layout do not count: they cannot change a result.
    """
    reached = sorted(set().union(*map(imports_of, modules)))
    digest = hashlib.sha256()
    for name in reached:
        digest.update(f"{name} {_meaning(name)}\n".encode())
    for library, version in versions_of(*modules).items():
        digest.update(f"{library} {version}\n".encode())
    return digest.hexdigest()[:16]


def imports_of(module: str) -> set[str]:
    """Return ``module`` and every module of its package that it reaches by import."""
    package, found, pending = module.partition(".")[0], set(), [module]
    while pending:
        name = pending.pop()
        if name in found or not _source(name):
            continue
        found.add(name)
        # importing a module runs the packages that it lies in
        pending += [name.rpartition(".")[0]] if "." in name else []
        pending += [n for n in _imported(name) if n.partition(".")[0] == package]
    return found


def libraries_of(module: str) -> set[str]:
    """Return the top-level names of everything outside the package that ``module`` reaches."""
    package = module.partition(".")[0]
    names = {n.partition(".")[0] for reached in imports_of(module) for n in _imported(reached)}
    return names - {package}


def versions_of(*modules: str) -> dict[str, str]:
    """Return the installed version of every computing library that ``modules`` reach."""
    used = set().union(*map(libraries_of, modules)) & COMPUTING
    return {library: _version(library) for library in sorted(used)}


@functools.cache
def _version(library: str) -> str:
    return metadata.version(library)


@functools.cache
def _imported(module: str) -> tuple[str, ...]:
    names: list[str] = []
    for node in ast.walk(ast.parse(_source(module).read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{module} has a relative import; spell out the package")
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(names)


@functools.cache
def _meaning(module: str) -> str:
    tree = ast.parse(_source(module).read_text())
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list):
                setattr(node, field, [n for n in block if not _is_docstring(n)])
    return ast.dump(tree)


def _is_docstring(node: ast.stmt) -> bool:
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
