"""Record of a saved adapter: the method, and what each of its tasks needs beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, FiniteFloat

from ..config import Model
from ..errors import SlatError
from .base import FileName, FileRecord, Record
from .jobs import Measures, TrainingJob

#: what ``format`` said before files had a ``version``; a pool was an adapter of several tasks
_EARLIER = tuple(f"slat-{kind}/{number}" for kind in ("adapter", "pool") for number in (1, 2, 3))

#: names of the text columns by their number, of which version 1 kept no more
_COLUMNS = {1: ("text 1",), 2: ("text 1", "text 2")}

Length = Annotated[int, Field(gt=0, lt=2**31)]  # of tokens


class SavedPrompt(Record):
    """Prompt of a causal language model, see :class:`.Template`.

    Attributes:
        prompt: format string, or the name of one; None where ``messages`` stand in its place.
        messages: ``role`` and ``content`` of each message.
        words: token ids of the words of each label; none where the answer is a response of its own.
        max_new_tokens: most tokens of a response; None where the answer is a label.
    """

    prompt: str | None
    messages: tuple[dict[str, str], ...]
    words: tuple[tuple[int, ...], ...]
    max_new_tokens: Length | None


class AdapterTask(Record):
    """One task of an adapter.

    Attributes:
        labels: label names; none in a regression.
        scale: mean and standard deviation of the numbers of a regression.
        max_length: tokens that a text is cut to.
        columns: names of the text columns; two for pairs.
        prompt: None where a head reads the text.
        measures: on validation.
        digests: split -> of the texts that it was trained on; none of an earlier version.
    """

    labels: tuple[str, ...]
    scale: tuple[FiniteFloat, FiniteFloat]
    max_length: Length
    columns: tuple[str, ...] = Field(min_length=1)
    prompt: SavedPrompt | None
    measures: Measures
    digests: dict[str, str] = Field({})

    @property
    def outputs(self) -> int:
        """Return the outputs of the head: one a label, or one number in a regression."""
        return max(1, len(self.labels))


class SavedAdapter(FileRecord):
    """A trained adapter of one task or of several, ``adapter.json``; the weights lie beside it.

    Files of versions 1 to 3 name their ``format``, and in those of a single task it has no name.

    Attributes:
        model: that it was trained on.
        job: the training that its weights are of; a search stands as the structure that it found.
        tasks: by name, in training order.
        digests: of ``weights`` and ``tokenizer`` of the model; none of an earlier version.
        weights: digest of the adapter's own weights; empty of an earlier version.
        revision: commit on the hub that the model was read from; empty of a model that is not from there.
    """

    VERSION: ClassVar[int] = 4

    model: Model
    job: TrainingJob
    tasks: dict[FileName | Literal[""], AdapterTask] = Field(min_length=1)
    digests: dict[str, str] = Field({})
    weights: str = ""
    revision: str = ""

    @classmethod
    def parse(cls, raw: Any, where: str | Path) -> Self:
        form = raw.get("format", _EARLIER[0]) if isinstance(raw, dict) else _EARLIER[0]
        if form not in _EARLIER:
            raise SlatError(f"{where}: is of format {form!r}; this library reads {', '.join(_EARLIER)}, and versions")
        return super().parse(raw, where)

    @classmethod
    def upgraded(cls, raw: dict[str, Any], version: int) -> dict[str, Any]:
        if version > 3:
            return raw
        job, tasks = raw.get("unit"), {"": raw}
        if "structure" in raw:  # of a pool: that of all tasks, whose own trainings are parts of one
            tasks = raw["tasks"]
            (name, first), *_ = tasks.items()
            label = first["unit"]["label"].removesuffix(f"-{name}")
            job = {**first["unit"], "label": label, "options": {"structure": raw["structure"]}}
        return {
            "model": raw.get("model"),
            "job": job,
            "tasks": {name: _earlier_task(task) for name, task in tasks.items()},
            "digests": {name: value for name, value in (raw.get("made_from") or {}).items() if name != "texts"},
        }


def _earlier_task(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the task of a file of version 1 to 3; version 1 kept the number of the columns alone."""
    same = {name: raw.get(name) for name in ("labels", "scale", "max_length", "prompt", "measures")}
    columns = raw["columns"] if "columns" in raw else _COLUMNS[raw["texts"]]
    return {**same, "columns": columns, "digests": (raw.get("made_from") or {}).get("texts", {})}
