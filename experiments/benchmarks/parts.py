"""A comparison that takes longer than a machine is there for: made in parts, put together where they agree."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Results = dict[str, Any]

#: options that rows of two parts must have in common to stand in one table; one may have more seeds than another
_ALIKE = ("steps", "precision")


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Rows of a ``results.json``."""
    return json.loads(path.read_text(encoding="utf-8"))["rows"]


def together(new: Results, earlier: Sequence[Path]) -> Results:
    """``new`` with the rows of ``earlier`` results that it did not make itself.

    A row is known by task, method and budget. How earlier rows were made stands under ``earlier``, a part each.

    Raises:
        SystemExit: a part was trained or tuned in another way.
    """
    rows, parts = list(new["rows"]), []
    for path in earlier:
        part = json.loads(path.read_text(encoding="utf-8"))
        for made in (part, *part.get("earlier", ())):
            _agree(new, made, path)
        known = {_key(row) for row in rows}
        rows += [row for row in part["rows"] if _key(row) not in known]
        parts += [{k: v for k, v in part.items() if k not in ("rows", "paired", "earlier")}, *part.get("earlier", ())]
    return {**new, "rows": rows, "earlier": parts}


def _key(row: dict[str, Any]) -> tuple[str, str, int]:
    return row["task"], row["method"], row["budget"]


def _agree(new: Results, part: Results, path: Path) -> None:
    """Both parts were tuned alike, and trained with one configuration but for the task."""
    told = [(name, new["options"][name], part["options"].get(name)) for name in _ALIKE]
    told += [(name, new[name], part.get(name)) for name in ("tuned_on", "search_rate")]
    told += [(f"variants of {name}", new["variants"][name], part["variants"].get(name)) for name in new["variants"]]
    shared = new["rates"].keys() & part["rates"].keys()
    told += [(f"rates at {budget}", new["rates"][budget], part["rates"][budget]) for budget in sorted(shared)]
    mine, theirs = (_without_task(next(iter(made["made_by"].values()))["config"]) for made in (new, part))
    told += [(f"config.{name}", mine.get(name), theirs.get(name)) for name in sorted(mine.keys() | theirs.keys())]
    for name, own, other in told:
        if own != other:
            raise SystemExit(f"{path} was made in another way: {name} is {other!r} there and {own!r} here")


def _without_task(config: dict[str, Any]) -> dict[str, Any]:
    """What all trainings of a comparison share; the configuration's own baselines and studies take no part in it."""
    others = ("name", "task", "data", "resources", "baselines", "sensitivity")
    return {name: section for name, section in config.items() if name not in others}
