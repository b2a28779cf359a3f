"""Every reader of files that may be damaged: how such a file is made, and what is read of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import torch

from slat_search.analysis.data import read_kept, read_results
from slat_search.analysis.robustness import Predictions
from slat_search.analysis.tables import comparison
from slat_search.config import load_config
from slat_search.files import keep_digests, save_arrays, write_listed
from slat_search.records import (
    Created,
    Decision,
    Ended,
    Environment,
    KeptConfig,
    Report,
    Reported,
    ResultRow,
    Selection,
    read_training,
)
from slat_search.run_folder import RunFolder, outcome
from slat_search.search.checkpoints import checkpoint_for, load_state
from slat_search.search.trial_log import TrialLog, trials_table
from slat_search.tasks.rows import read_rows
from tests.conftest import small_config
from tests.fuzz.adapters import (
    TASKS,
    adapter_file,
    earlier_adapter,
    read_adapter_file,
    saved_adapter,
    structure,
    used_adapter,
)
from tests.records import test_records as records

AGAIN = "made again"


@dataclass(frozen=True)
class Reader:
    """A reader of one file.

    Attributes:
        make: writes the file, and what belongs to it, into an empty folder; returns the file.
        read: returns what is compared; ``AGAIN`` where damage is noticed and what was lost is made again.
        has_digest: whether other content is noticed, whatever it is.
        is_json: whether values of it are edited, too.
        may_list: whether a message may have a line for each of several mistakes.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    has_digest: bool = True
    is_json: bool = False
    may_list: bool = False


def _ledger(folder: Path) -> Path:
    path = folder / "ledger.jsonl"
    for number in range(3):
        Created(number=number, sampled={"kinds": "all", "sparsity": 0.1}, attributes={}).append(path)
        for step in (3, 9):
            report = Report(**{**records.REPORT, "step": step})
            Reported(number=number, report=report, structure=structure().packed()).append(path)
        Ended(number=number, status="completed", error="").append(path)
    return path


def _read_lines(path: Path, read: Callable[[Path], list[Any]], whole: int) -> Any:
    """Read lines; fewer of them than were written are those that a kill tore, and what they tell of is done again."""
    result = read(path)
    return result if len(result) == whole else AGAIN


def _trials(path: Path) -> Any:
    lines = path.read_bytes().count(b"\n")
    trials = TrialLog(path).trials
    trials_table(trials)
    return trials if lines == 12 else AGAIN


def _rungs(folder: Path) -> Path:
    for number in range(6):
        decision = Decision(trial=f"trial-{number:04d}", step=3, values=[0.5, -10.0], decision="STOP")
        decision.append(folder / "rungs.jsonl")
    return folder / "rungs.jsonl"


def _record(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        records.FILES[name][1].write(folder / name)
        return folder / name

    return make


def _read_record(path: Path) -> Any:
    return read_training(path) if path.name == "train.json" else records.FILES[path.name][0].read(path)


def _kept_config(folder: Path) -> Path:
    keep_digests(folder)
    write_listed(folder / "config.yaml", small_config().to_yaml())
    return folder / "config.yaml"


def _read_kept_config(path: Path) -> Any:
    KeptConfig.of(RunFolder(path.parent))
    return load_config(path, stored=True)


def _own_config(folder: Path) -> Path:
    path = folder / "mine.yaml"
    path.write_text(small_config().to_yaml())
    return path


def _checkpoint(folder: Path) -> Path:
    with checkpoint_for(3, {"step": 45, "weights": torch.arange(300.0)}) as checkpoint:
        assert checkpoint is not None
        raw = (Path(checkpoint.path) / "state.pt").read_bytes()
    (folder / "state.pt").write_bytes(raw)
    return folder / "state.pt"


def _read_checkpoint(path: Path) -> Any:
    state = load_state(3, path.read_bytes())
    return AGAIN if state is None else (state["step"], state["weights"].tolist())


def _predictions(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    arrays = {"0.labels": rng.integers(2, size=50), "0.outputs": rng.integers(2, size=(2, 50))}
    save_arrays(folder / "k.test.safetensors", {**arrays, "0.confidence": rng.random((2, 50)).astype(np.float32)})
    return folder / "k.test.safetensors"


def _read_predictions(path: Path) -> Any:
    predictions = Predictions.read(path, records.TEST.sets)
    return [values.tolist() for values in (predictions.labels, predictions.outputs, predictions.confidence)]


def _run(folder: Path, name: str, digests: bool = True) -> Path:
    """The tables and records that are kept of a run."""
    if digests:
        keep_digests(folder)
    write_listed(folder / "config.yaml", small_config().to_yaml())
    Environment.model_validate({"tasks": [{**records.TASK, "name": "bbc-headline"}], "model": records.MODEL}).write(
        folder / "environment.json"
    )
    finals = [
        {**records.FINAL, "key": f"{label}-{seed}", "label": label, "name": label, "structure": digest}
        for label, digest in (("slat-a", structure().digest), ("lora", ""))
        for seed in (0, 1)
    ]
    Selection.model_validate({"finals": finals, "tuning": records.TUNING}).write(folder / "selection.json")
    if digests:
        keep_digests(folder / "structures")
    write_listed(folder / "structures" / "slat-a.json", structure().to_json())
    write_listed(folder / "results.csv", pd.DataFrame([_row(final) for final in finals]).to_csv(index=False))
    trial = {"trial": 0, "status": "completed", "sparsity": 1.0, "step": 10, "quality": 0.8, "params": 64,
             "retained": 0.9, "structure": structure().digest, "refitted": "yes", "error": ""}  # fmt: skip
    write_listed(folder / "trials.csv", pd.DataFrame([trial, {**trial, "trial": 1}]).to_csv(index=False))
    write_listed(folder / "history.csv", pd.DataFrame([{"trial": 0, "step": 10, "quality": 0.8}]).to_csv(index=False))
    for text in ("comparison.md", "answer.md"):
        write_listed(folder / text, "| method | quality |\n|---|---|\n| a | 0.800 |\n")
    return folder / name


def _row(final: Mapping[str, Any]) -> dict[str, Any]:
    values = {
        "task": "bbc-headline", "model": "tiny", "family": "slat" if final["structure"] else "baseline",
        "tuned_as": final["name"], "how": "one pool", "seed": int(final["key"][-1]), "learning_rate": 0.01,
        "noise_kind": "none", "noise_ratio": 0.0, "validation": 0.8, "validation_retained": 0.9, "quality": 0.81,
        "retained": 0.9, "params": 64, "own": 64, "bytes": 256.0, "params_percent": 6.4, "compression": 15.6,
        "head_params": 18, "train_seconds": 3.0, "seconds_per_text": 0.01, "memory": 10**6, "steps": 10,
        "test_loss": 0.5, "method": final["label"],
    }  # fmt: skip
    return {name: values.get(name, final.get(name)) for name in ResultRow.model_fields}


def _table(path: Path) -> Any:
    run = RunFolder(path.parent)
    results = read_results(run, Environment.read(run / "environment.json"))
    comparison(results)
    return results.to_csv()


def _whole_run(path: Path) -> Any:
    data = read_kept(RunFolder(path.parent))
    return data.results.to_csv(), data.trials.to_csv(), data.history.to_csv(), data.structures, data.selection


def _data(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def _parquet(folder: Path) -> Path:
    table = pyarrow.table({"text": [f"text {i}" for i in range(40)], "label": [i % 2 for i in range(40)]})
    pyarrow.parquet.write_table(table, folder / "a.parquet")
    return folder / "a.parquet"


def _rows(path: Path) -> Any:
    rows = read_rows(path, "task.train")
    return {name: rows.values(name) for name in rows.columns}


def _in(make: Callable[[Path], None], name: str) -> Callable[[Path], Path]:
    def made(folder: Path) -> Path:
        make(folder)
        return folder / name

    return made


def _old_run(name: str) -> Callable[[Path], Path]:
    return lambda folder: _run(folder, name, digests=False)


_OBJECTS = [{"text": f'text {i}, "quoted"\n and more', "label": i % 2} for i in range(20)]
_LINES = "text,label\n" + "".join(f'"text {i}, ""more""",{i % 2}\n' for i in range(20))
READERS: dict[str, Reader] = {
    "adapter.json": Reader(_in(saved_adapter(), "adapter.json"), used_adapter, is_json=True),
    "adapter.safetensors": Reader(_in(saved_adapter(), "adapter.safetensors"), used_adapter),
    "adapter.json of several tasks": Reader(_in(saved_adapter(*TASKS), "adapter.json"), used_adapter, is_json=True),
    "adapter.safetensors of several tasks": Reader(_in(saved_adapter(*TASKS), "adapter.safetensors"), used_adapter),
    **{
        f"adapter.json of version {number}": Reader(
            _in(earlier_adapter(number), "adapter.json"), used_adapter, has_digest=False, is_json=True
        )
        for number in (1, 3)
    },
    "adapter.safetensors of version 3": Reader(
        _in(earlier_adapter(3), "adapter.safetensors"), used_adapter, has_digest=False
    ),
    "shared.json of version 3": Reader(
        _in(earlier_adapter(3, *TASKS), "shared.json"), used_adapter, has_digest=False, is_json=True
    ),
    "adapter file of its own": Reader(adapter_file, read_adapter_file),
    "ledger.jsonl": Reader(_ledger, _trials),
    "rungs.jsonl": Reader(_rungs, lambda path: _read_lines(path, lambda p: [*Decision.read_lines(p)], 6)),
    **{name: Reader(_record(name), _read_record, is_json=True) for name in records.FILES if name != "environment.json"},
    "environment.json": Reader(lambda folder: _run(folder, "environment.json"), _whole_run, is_json=True),
    "selection.json of a run": Reader(lambda folder: _run(folder, "selection.json"), _whole_run, is_json=True),
    "structures/slat-a.json": Reader(
        lambda folder: _run(folder, "structures/slat-a.json"), lambda path: _whole_run(path.parent), is_json=True
    ),
    "checkpoint": Reader(_checkpoint, _read_checkpoint),
    "predictions": Reader(_predictions, _read_predictions),
    "config.yaml of a run": Reader(_kept_config, _read_kept_config, may_list=True),
    "results.csv": Reader(lambda folder: _run(folder, "results.csv"), _table),
    "trials.csv": Reader(lambda folder: _run(folder, "trials.csv"), _whole_run),
    "comparison.md": Reader(lambda folder: _run(folder, "comparison.md"), lambda path: outcome(RunFolder(path.parent))),
    "digests.json": Reader(lambda folder: _run(folder, "digests.json"), _whole_run, is_json=True),
    "config.yaml of a user": Reader(_own_config, load_config, has_digest=False, may_list=True),
    "results.csv of an earlier version": Reader(_old_run("results.csv"), _whole_run, has_digest=False),
    "trials.csv of an earlier version": Reader(_old_run("trials.csv"), _whole_run, has_digest=False),
    "structure of an earlier version": Reader(
        _old_run("structures/slat-a.json"), lambda path: _whole_run(path.parent), has_digest=False, is_json=True
    ),
    "config.yaml of an earlier version": Reader(_old_run("config.yaml"), _whole_run, has_digest=False),
    "texts in .csv": Reader(_data("a.csv", _LINES.encode()), _rows, has_digest=False),
    "texts in .tsv": Reader(_data("a.tsv", b"text\tlabel\n" + b"a text\t1\n" * 20), _rows, has_digest=False),
    "texts in .json": Reader(_data("a.json", json.dumps(_OBJECTS).encode()), _rows, has_digest=False, is_json=True),
    "texts in .jsonl": Reader(_data("a.jsonl", "\n".join(map(json.dumps, _OBJECTS)).encode()), _rows, has_digest=False),
    "texts in .parquet": Reader(_parquet, _rows, has_digest=False),
}
