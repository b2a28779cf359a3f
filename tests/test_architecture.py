"""Imports between packages run one way, as ``docs/architecture.md`` says."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "slat_search"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
#: a package imports from those before it alone
ORDER = re.findall(r"^\| `([a-z_]+)` \|", PAGE.split("## Packages")[1].split("\n## ")[0], re.MULTILINE)
WITH_RAY = {"search", "comparison", "pipeline", "sensitivity", "doctor"}


def imports(path: Path) -> Iterator[str]:
    """Absolute names of what a file of the package imports when it runs."""
    package = ["slat_search", *path.relative_to(PACKAGE).parts[:-1]]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    unused = {id(node) for block in blocks for node in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in unused:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            base += node.module.split(".") if node.module else []
            yield from (".".join([*base, alias.name]) for alias in node.names)


def package_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if package_of(path) not in ("__init__", "__main__")]


def test_the_page_names_every_package() -> None:
    assert len(ORDER) == len(set(ORDER))
    assert set(ORDER) == {package_of(path) for path in FILES}


@pytest.mark.parametrize("package", ORDER)
def test_a_package_imports_from_those_before_it(package: str) -> None:
    before = {*ORDER[: ORDER.index(package) + 1], "__version__"}
    for path in (path for path in FILES if package_of(path) == package):
        wanted = {name.split(".")[1] for name in imports(path) if name.startswith("slat_search.")}
        assert wanted <= before, path


def test_ray_is_known_where_it_runs_alone() -> None:
    assert {package_of(path) for path in FILES for name in imports(path) if name.split(".")[0] == "ray"} <= WITH_RAY


@pytest.mark.parametrize("package", ["analysis", "records", "config"])
def test_packages_that_need_neither_torch_nor_ray(package: str) -> None:
    code = (
        "import importlib, pkgutil, sys\n"
        f"package = importlib.import_module('slat_search.{package}')\n"
        "for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "    importlib.import_module(module.name)\n"
        "assert not {'torch', 'ray'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_files_that_the_page_names_are_there() -> None:
    links = re.findall(r"\]\((\.\./[^)#]+)\)", (ROOT / "docs" / "how-to.md").read_text(encoding="utf-8"))
    assert links
    assert not [link for link in links if not (ROOT / "docs" / link).exists()]
    for name in re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", PAGE):
        assert (PACKAGE / name).is_file() or (ROOT / name).is_file(), name
