"""Docstrings: examples run and give what they show, and what they explain is there."""

from __future__ import annotations

import ast
import doctest
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "slat_search").rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    failed, tried = doctest.testmod(import_module(name))
    assert tried
    assert not failed


def explained(node: ast.AST, section: str) -> list[str]:
    """Names that a section of a docstring explains, each on a line of its own."""
    text = ast.get_docstring(node) or ""  # type: ignore[arg-type]
    found = re.search(rf"^{section}:\n((?:    .*\n?|\n)+)", text, re.MULTILINE)
    lines = re.findall(r"^    (?! )([\w*][\w, *]*):", found.group(1), re.MULTILINE) if found else []
    return [name.strip(" *") for line in lines for name in line.split(",")]


def parameters(function: ast.FunctionDef) -> set[str]:
    arguments = function.args
    listed = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return {argument.arg for argument in listed if argument is not None}


def attributes(node: ast.ClassDef) -> set[str]:
    """Fields, properties and what methods set on ``self``."""
    names = {
        target.id
        for item in node.body
        if isinstance(item, ast.AnnAssign) and isinstance(target := item.target, ast.Name)
    }
    names |= {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
    for item in ast.walk(node):
        if isinstance(item, ast.Attribute) and isinstance(item.ctx, ast.Store):
            names.add(item.attr)
        if isinstance(item, ast.Assign):
            names |= {target.id for target in item.targets if isinstance(target, ast.Name)}
    return names


def misexplained(path: Path) -> Iterator[str]:
    classes: dict[str, ast.ClassDef] = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            yield from (f"{node.name}: {name}" for name in {*explained(node, "Args")} - parameters(node))
        if isinstance(node, ast.ClassDef):
            classes[node.name] = node
            bases = [classes[base.id] for base in node.bases if isinstance(base, ast.Name) and base.id in classes]
            there = set().union(*(attributes(kind) for kind in (node, *bases)))
            begun = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
            taken = set().union(there, *map(parameters, begun))
            yield from (f"{node.name}: {name}" for name in {*explained(node, "Attributes")} - there)
            yield from (f"{node.name}: {name}" for name in {*explained(node, "Args")} - taken)


def test_what_a_docstring_explains_is_there() -> None:
    found = {str(path.relative_to(ROOT)): [*misexplained(path)] for path in (ROOT / "slat_search").rglob("*.py")}
    assert {path: names for path, names in found.items() if names} == {}
