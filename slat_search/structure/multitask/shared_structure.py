"""A pool of modules that tasks share, and the tasks that use each unit. An immutable value, JSON in and out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ...errors import SlatError
from ...structure_text import by_line
from ..module_spec import ModuleSpec
from ..options import ModuleOptions
from ..packed import packed, unpacked, whole_number
from ..spectral import Entry
from ..structure import FORMAT as PLAIN
from ..structure import Structure

FORMAT = "slat-shared/1"
Users = tuple[int, ...]


@dataclass(frozen=True)
class SharedStructure:
    """The union of the tasks' modules, and the users of each of its units.

    Attributes:
        tasks: names of the tasks, at least one.
        pool: the union; its modules are sorted, and units are numbered through them.
        users: for each unit of the pool the numbers of the tasks that use it, increasing and at least one.
    """

    tasks: tuple[str, ...]
    pool: Structure
    users: tuple[Users, ...]

    def __post_init__(self) -> None:
        are_strings = all(isinstance(task, str) for task in self.tasks)
        if not self.tasks or not are_strings or len(set(self.tasks)) < len(self.tasks):
            raise SlatError("structure: a shared one needs tasks with different names")
        units = sum(m.size for m in self.pool.modules)
        if len(self.users) != units:
            raise SlatError(f"structure: {units} units, and users of {len(self.users)}")
        task_numbers = range(len(self.tasks))
        for users in self.users:
            if not users or list(users) != sorted(set(users)) or not set(users) <= set(task_numbers):
                raise SlatError(f"structure: {list(users)} are no users among {len(self.tasks)} tasks")

    # -- description -----------------------------------------------------------------------------------

    @property
    def modules(self) -> tuple[ModuleSpec, ...]:
        """Return the modules of the pool."""
        return self.pool.modules

    @property
    def options(self) -> ModuleOptions:
        return self.pool.options

    @property
    def params(self) -> int:
        """Return the parameters of the pool; those that several tasks use count once."""
        return self.pool.params

    @cached_property
    def digest(self) -> str:
        """Return a short stable name of the value: the first 10 hex digits of the SHA-256 of its JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:10]

    def _by_module(self) -> list[tuple[ModuleSpec, tuple[Users, ...]]]:
        """Return each module of the pool with the users of its units."""
        modules, start = [], 0
        for module in self.modules:
            modules.append((module, self.users[start : start + module.size]))
            start += module.size
        return modules

    def units_of(self, task: str) -> list[tuple[ModuleSpec, list[int]]]:
        """Return the modules that a task uses, each with the numbers of the used units inside the pool's module."""
        number = self.number(task)
        modules = []
        for module, users in self._by_module():
            own_units = [unit for unit, tasks in enumerate(users) if number in tasks]
            if own_units:
                modules.append((module, own_units))
        return modules

    def of(self, task: str) -> Structure:
        """Return what one task uses, as a structure of its own.

        Raises:
            SlatError: the pool has no such task.
        """
        return replace(self.pool, modules=tuple(m.only(units) for m, units in self.units_of(task)))

    def shared_by(self) -> dict[int, int]:
        """Return number of users -> parameters with so many users."""
        params = dict.fromkeys(range(1, len(self.tasks) + 1), 0)
        for module, users in self._by_module():
            for tasks in users:
                params[len(tasks)] += module.params // module.size
        return params

    def overlap(self, first: str, second: str) -> float:
        """Return parameters that two tasks both use over those that either uses (Jaccard), 0 to 1; unit by unit."""
        i, j = self.number(first), self.number(second)
        intersection = union = 0
        for module, users in self._by_module():
            cost = module.params // module.size
            for tasks in users:
                intersection += cost * (i in tasks and j in tasks)
                union += cost * (i in tasks or j in tasks)
        return intersection / union if union else 1.0

    def describe(self) -> str:
        """Return one line for people."""
        by_task = ", ".join(f"{task} {self.of(task).params:,}" for task in self.tasks)
        return f"{self.pool.describe()}; {by_task}"

    def number(self, task: str) -> int:
        """Return the number of a task, from 0.

        Raises:
            SlatError: the pool has no such task.
        """
        if task not in self.tasks:
            raise SlatError(f"structure: no task {task!r}; there are {', '.join(self.tasks)}")
        return self.tasks.index(task)

    # -- JSON ------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values: those of the pool, with ``tasks``, and with ``users`` of each unit of each module."""
        raw = self.pool.to_dict()
        modules = [
            {**module, "users": [list(tasks) for tasks in users]}
            for module, (_, users) in zip(raw.pop("modules"), self._by_module(), strict=True)
        ]
        return {**raw, "format": FORMAT, "tasks": list(self.tasks), "modules": modules}

    def to_json(self) -> str:
        """Return readable and diffable JSON: one line per module."""
        return by_line(self.to_dict())

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> SharedStructure:
        """Inverse of :meth:`to_dict`.

        Raises:
            SlatError: fields are missing, another format version, or a module that cannot be.
        """
        try:
            if raw["format"] != FORMAT:
                raise SlatError(f"structure: format {raw['format']!r} is not {FORMAT!r}")
            if not isinstance(raw["tasks"], list):
                raise TypeError("tasks: not a list")
            pool = Structure.from_dict({**raw, "format": PLAIN})
            users_by_module = {(m["name"], m["kind"]): m["users"] for m in raw["modules"]}
            users = tuple(
                tuple(map(whole_number, tasks)) for m in pool.modules for tasks in users_by_module[m.site.name, m.kind]
            )
            return cls(tuple(raw["tasks"]), pool, users)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SlatError(f"structure: not a shared structure ({error!r})") from error

    def packed(self) -> str:
        """Return compressed text, as :meth:`.Structure.packed` does."""
        return packed(self.to_dict())

    # -- hand-made pools -------------------------------------------------------------------------------

    @classmethod
    def everything(cls, tasks: Sequence[str], pool: Structure) -> SharedStructure:
        """Return a pool that every task uses as a whole, like a shared LoRA."""
        units = sum(m.size for m in pool.modules)
        return cls(tuple(tasks), pool, (tuple(range(len(tasks))),) * units)

    @classmethod
    def apart(cls, structures: Mapping[str, Structure]) -> SharedStructure:
        """Return a pool of the structures of several tasks, without sharing.

        Raises:
            SlatError: two tasks use a kind of which a site holds one unit only, or one entry of a spectral core, or
                they have different options.
        """
        if len({structure.options for structure in structures.values()}) > 1:
            raise SlatError("structure: those of different options cannot stand in one pool")
        tasks = tuple(structures)
        users: dict[tuple[Any, str], list[Users]] = {}
        entries: dict[tuple[Any, str], list[Entry]] = {}
        for number, structure in enumerate(structures.values()):
            for m in structure.modules:
                users.setdefault((m.site, m.kind), []).extend([(number,)] * m.size)
                entries.setdefault((m.site, m.kind), []).extend(m.entries)
        for key, positions in entries.items():
            if positions:  # a structure lists them in increasing order
                users[key] = [user for _, user in sorted(zip(positions, users[key], strict=True))]
        modules = sorted(
            ModuleSpec(site, kind, len(module_users), tuple(sorted(entries[site, kind])))
            for (site, kind), module_users in users.items()
        )
        options = next(iter(structures.values())).options
        unit_users = tuple(numbers for m in modules for numbers in users[m.site, m.kind])
        return cls(tasks, Structure(tuple(modules), options), unit_users)


def read_structure(raw: Mapping[str, Any]) -> Structure | SharedStructure:
    """Inverse of ``to_dict`` of both classes; raises as ``from_dict`` does."""
    return SharedStructure.from_dict(raw) if raw.get("format") == FORMAT else Structure.from_dict(raw)


def unpack(text: str) -> Structure | SharedStructure:
    """Inverse of ``packed`` of both classes; raises as ``from_dict`` does, and on text that is not packed."""
    return read_structure(unpacked(text))
