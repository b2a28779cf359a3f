"""The parts of a shared structure that tasks use, from its JSON alone."""

from __future__ import annotations

from typing import Any

import pandas as pd


def units(structure: dict[str, Any]) -> pd.DataFrame:
    """A row a unit of a shared structure: ``layer kind cost``, and a column of bool a task."""
    tasks = structure["tasks"]
    rows = [
        {"layer": m["layer"], "kind": m["kind"], "cost": m["params"] // m["size"]}
        | {task: number in users for number, task in enumerate(tasks)}
        for m in structure["modules"]
        for users in m["users"]
    ]
    return pd.DataFrame(rows, columns=["layer", "kind", "cost", *tasks])


def part_of(structure: dict[str, Any], task: int) -> dict[str, Any]:
    """Return the part of a shared structure that a task uses, as the JSON of a structure of its own."""
    modules = []
    for module in structure["modules"]:
        mine = [unit for unit, users in enumerate(module["users"]) if task in users]
        if not mine:
            continue
        part = {**module, "size": len(mine), "params": module["params"] // module["size"] * len(mine)}
        if "entries" in module:
            part["entries"] = [module["entries"][unit] for unit in mine]
        modules.append(part)
    return {"modules": modules}


def shared_by(structure: dict[str, Any]) -> dict[int, int]:
    """Number of users -> parameters that have so many."""
    tasks, found = structure["tasks"], units(structure)
    users = found[tasks].sum(axis=1)
    return {count: int(found["cost"][users == count].sum()) for count in range(1, len(tasks) + 1)}
