"""Record of a saved adapter: the method, and the settings of each of its tasks; the weights are in another file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, FiniteFloat

from ..config import Model
from ..errors import SlatError
from .base import FileName, FileRecord, Record
from .jobs import Measures, TrainingJob

#: values of ``format`` before files had a ``version``; a pool was an adapter of several tasks
_EARLIER_FORMATS = tuple(f"slat-{kind}/{number}" for kind in ("adapter", "pool") for number in (1, 2, 3))

#: number of text columns, which is all that version 1 stored -> their names
_COLUMNS = {1: ("text 1",), 2: ("text 1", "text 2")}

Length = Annotated[int, Field(gt=0, lt=2**31)]  # of tokens


class SavedPrompt(Record):
    """Prompt of a causal language model, see :class:`.Template`.

    Attributes:
        prompt: format string, or the name of one; None where ``messages`` replace it.
        messages: ``role`` and ``content`` of each message.
        words: token ids of the words of each label; none where the answer is a generated response.
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
        digests: split -> digest of the texts that it was trained on; empty from an earlier version.
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
        """Return the number of outputs of the head: one per label, or 1 in a regression."""
        return max(1, len(self.labels))


class SavedAdapter(FileRecord):
    """A trained adapter of one task or of several, ``adapter.json``, beside the file of its weights.

    Files of versions 1 to 3 have a ``format``, and in those of a single task the task has no name.

    Attributes:
        model: the model that it was trained on.
        job: the training of its weights; a search is recorded as the structure that it found.
        tasks: by name, in training order.
        digests: of ``weights`` and ``tokenizer`` of the model; empty from an earlier version.
        weights: digest of the adapter's own weights; empty from an earlier version.
        revision: commit on the hub that the model was read from; empty for a model that is not from there.
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
        file_format = raw.get("format", _EARLIER_FORMATS[0]) if isinstance(raw, dict) else _EARLIER_FORMATS[0]
        if file_format not in _EARLIER_FORMATS:
            raise SlatError(
                f"{where}: is of format {file_format!r}; this library reads {', '.join(_EARLIER_FORMATS)}, and versions"
            )
        return super().parse(raw, where)

    @classmethod
    def upgraded(cls, raw: dict[str, Any], version: int) -> dict[str, Any]:
        if version > 3:
            return raw
        job, tasks = raw.get("unit"), {"": raw}
        if "structure" in raw:  # a pool: the structure is that of all tasks, which were trained in one job
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
    """Return the task of a file of version 1 to 3; version 1 stored only the number of columns."""
    fields = {name: raw.get(name) for name in ("labels", "scale", "max_length", "prompt", "measures")}
    columns = raw["columns"] if "columns" in raw else _COLUMNS[raw["texts"]]
    return {**fields, "columns": columns, "digests": (raw.get("made_from") or {}).get("texts", {})}
