"""Read and write folders of trained adapters: ``adapter.safetensors`` and ``adapter.json``, without pickle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from torch import nn

from ..baselines import METHODS, Applied
from ..config import Model
from ..errors import SlatError
from ..files import check_finite, load_arrays, save_arrays
from ..models.registry import Source
from ..records import AdapterTask, Measures, Recommended, SavedAdapter, SavedPrompt, TrainingJob
from ..structure import SharedAdapter, SharedStructure, read_structure
from ..tasks.objects import first_line
from ..training.context import Context, TaskContext
from ..training.jobs import apply_job, load_state
from ..training.protocol import State, head_names, strip_prefix

DESCRIPTION = "adapter.json"
#: bounds on the bytes of weights: per parameter, per output of the head, and for the rest of the file
_BYTES_OF_PARAM, _BYTES_OF_OUTPUT, _SPARE = 16, 2**19, 2**30
_OLD_POOL_FILE = "shared.json"  # description of an adapter of several tasks, up to version 3


def write_adapter(folder: Path, context: Context, job: TrainingJob, state: State, measures: Measures) -> None:
    """Write the adapter, its heads and all that is needed to use them on the same backbone.

    Each of several tasks gets a folder of its name with its part, which is an adapter of its own.

    Args:
        folder: folder to write.
        context: context that the adapter was trained in.
        job: the training; for a search that of the structure that it found.
        state: trained weights, see :func:`.trained_arrays`.
        measures: measures on validation.
    """
    digests, config = context.tasks[0].made_from, context.config.model.model_dump()
    saved = SavedAdapter(
        model=Model.model_validate(config),  # with every field, as defaults may change
        job=job,
        tasks={task.config.name: described(task, measures.of(task.config.name)) for task in context.tasks},
        digests={"weights": digests.weights, "tokenizer": digests.tokenizer},
        revision=context.frozen.revision,
    )
    write_saved(folder, saved, state)
    if len(context.tasks) > 1:
        _write_task_folders(folder, context, job, state, measures)


def _write_task_folders(folder: Path, context: Context, job: TrainingJob, state: State, measures: Measures) -> None:
    """Write the part of each task of an adapter as an adapter of its own."""
    applied = Applied()  # every task uses all of a hand-made method
    try:
        if job.method == "slat":
            applied = apply_job(job, context.backbone().model)
            load_state([], applied, state)
        for number, (name, prefix) in enumerate(zip(context.names, head_names(len(context.tasks)), strict=True)):
            task_job, modules = part_of(applied.shared, job, state, name)
            head = {f"head.{key}": value for key, value in strip_prefix(f"{prefix}.", state).items()}
            write_adapter(folder / name, context.of(number), task_job, modules | head, measures.of(name))
    finally:
        applied.undo()


def described(task: TaskContext, measures: Measures) -> AdapterTask:
    """Return the record of a task of an adapter, with its ``measures`` on validation."""
    config = task.config
    prompt = None
    if config.is_prompted:
        max_new_tokens = config.max_new_tokens if config.is_generated else None
        prompt = SavedPrompt(**config.prompt_fields, words=task.words, max_new_tokens=max_new_tokens)
    return AdapterTask(
        labels=task.labels,
        scale=task.scale,
        max_length=config.max_length,
        columns=config.text,
        prompt=prompt,
        measures=measures,
        digests=task.made_from.texts,
    )


def part_of(shared: SharedAdapter | None, job: TrainingJob, state: State, task: str) -> tuple[TrainingJob, State]:
    """Return the part of an adapter that one of several tasks uses: its training job, and its weights by name.

    Args:
        shared: shared modules; None if all tasks use the same modules.
        job: training job of the adapter.
        state: weights of the adapter.
        task: name of the task.
    """
    label = f"{job.label}-{task}"
    if shared is None:
        return replace(job, label=label), {key: value for key, value in state.items() if key.startswith("adapter.")}
    structure, weights = shared.alone(task)
    modules = {f"adapter.{key}": value.cpu().numpy() for key, value in weights.items()}
    return replace(job, label=label, options={"structure": structure.to_dict()}), modules


@contextmanager
def naming(kind: str, folder: Path) -> Iterator[None]:
    """Prefix error messages with the adapter.

    Args:
        kind: kind of adapter, such as ``adapter`` or ``pool``.
        folder: folder of the adapter.
    """
    try:
        yield
    except SlatError as error:
        raise SlatError(f"{kind} {folder}: {error}") from error


def apply_saved(job: TrainingJob, backbone: nn.Module) -> Applied:
    """Apply the method of an adapter, whose options come from a file and may be anything.

    Raises:
        SlatError: the method does not take the options.
    """
    try:
        return apply_job(job, backbone)
    except SlatError:
        raise
    except Exception as error:  # peft, torch and Python raise errors of any kind
        raise SlatError(
            f"{DESCRIPTION}: damaged (no {job.method!r} has such options: {type(error).__name__}: {first_line(error)})"
        ) from error


def write_saved(folder: Path, saved: SavedAdapter, state: State) -> None:
    """Write the two files of an adapter atomically: the weights, and then the description with their digest."""
    weights = save_arrays((folder / DESCRIPTION).with_suffix(".safetensors"), state)
    saved.model_copy(update={"weights": weights}).write(folder / DESCRIPTION)


def model_source(folder: Path, saved: SavedAdapter, trust_remote_code: bool = False) -> Source:
    """Find the model of an adapter, at the commit that it was trained on.

    Args:
        trust_remote_code: whether the caller allows code of the model to run; the setting of the adapter is ignored.

    Raises:
        SlatError: no such model, or it needs code that the caller has not allowed.
    """
    if saved.model.trust_remote_code and not trust_remote_code:
        raise SlatError(
            f"adapter {folder}: its model {saved.model.name} brings code of its own, which runs only if you allow it: "
            "`slat predict --trust-remote-code`, or `load(..., trust_remote_code=True)`"
        )
    return Source.of(saved.model.name, saved.revision or saved.model.revision, trust_remote_code)


def is_saved(folder: Path) -> bool:
    """Return whether a folder holds an adapter."""
    return (folder / DESCRIPTION).is_file() or (folder / _OLD_POOL_FILE).is_file()


def read_saved(folder: Path) -> tuple[SavedAdapter, State]:
    """Read the two files of an adapter: its description, and its weights by name.

    Raises:
        SlatError: no adapter folder, a damaged one, or one of an unknown version.
    """
    path = folder / (DESCRIPTION if (folder / DESCRIPTION).is_file() or not is_saved(folder) else _OLD_POOL_FILE)
    saved, weights = SavedAdapter.read(path), path.with_suffix(".safetensors")
    if damage := _damage(saved):
        raise SlatError(f"{path}: damaged ({damage})")
    state = load_arrays(weights, saved.weights or None, _max_bytes(saved))
    check_finite(state, weights)
    if "scales" in state:  # of a pool of an earlier version
        state["adapter.scales"] = state.pop("scales")
    return saved, state


def _damage(saved: SavedAdapter) -> str:
    """Describe a fault in the method or the structure of an adapter; return an empty text if there is none."""
    if saved.job.method not in METHODS:
        return f"no method is called {saved.job.method!r}"
    if saved.job.method != "slat":
        return ""
    if "structure" not in saved.job.options:
        return "job.options has no structure"
    try:
        structure = read_structure(saved.job.options["structure"])
    except (AttributeError, TypeError, SlatError) as error:
        return str(error)
    if isinstance(structure, SharedStructure) and structure.tasks != tuple(saved.tasks):
        return f"its structure is of the tasks {', '.join(structure.tasks)}, and not of {', '.join(saved.tasks)}"
    return ""


def _max_bytes(saved: SavedAdapter) -> int | None:
    """Return an upper bound on the bytes of the weights of a structure and its heads; None for other methods, which may
    train the whole model."""
    if saved.job.method != "slat":
        return None
    params = read_structure(saved.job.options["structure"]).params
    return _BYTES_OF_PARAM * params + sum(_BYTES_OF_OUTPUT * task.outputs for task in saved.tasks.values()) + _SPARE


def adapter_folder(run: Path, adapter: str | None = None, task: str | None = None) -> Path:
    """Return the folder of the adapter of one task: ``run`` itself if it is one, else the named or the recommended one
    of a run folder; for an adapter of several tasks the folder of ``task`` in it.

    Raises:
        SlatError: no adapter there, or no such task.
    """
    folder = run if is_saved(run) else _run_adapter(run, adapter)
    tasks = _task_folders(folder)
    if tasks:
        if task not in tasks:
            raise SlatError(f"--task: {run} has several tasks, so one of {', '.join(tasks)} is needed (got {task!r})")
        return folder / task
    if task is not None and folder != run:
        raise SlatError(f"--task: {run} has one task; leave it out")
    return folder


def shared_folder(run: Path, adapter: str | None = None) -> Path:
    """Return the folder of the adapter of all tasks: ``run`` itself if it is one, else the named or the recommended one
    of a run folder; if the recommended one was trained for each task alone, the recommended found structure.

    Raises:
        SlatError: no adapter there, or only one for each task alone.
    """
    folder = run if is_saved(run) else _run_adapter(run, adapter)
    if not is_saved(folder) and adapter is None:
        folder = _run_adapter(run, Recommended.read(folder.parent / "best.json").found)
    return folder if is_saved(folder) else adapter_folder(run, adapter)


def _task_folders(folder: Path) -> list[str]:
    """Return the names of the tasks that have a folder of their own in the folder of an adapter."""
    return sorted(path.parent.name for path in folder.glob(f"*/{DESCRIPTION}"))


def _run_adapter(run: Path, adapter: str | None) -> Path:
    """Return the folder of the named or the recommended adapter of a run.

    Raises:
        SlatError: no finished run, or no such adapter.
    """
    folder = run / "adapters"
    if not (folder / "best.json").is_file():
        raise SlatError(f"{run}: neither an adapter folder nor a finished run")
    name = adapter or Recommended.read(folder / "best.json").adapter
    names = sorted({path.relative_to(folder).parts[0] for path in folder.glob(f"**/{DESCRIPTION}")})
    if name not in names:
        raise SlatError(f"--adapter: no {name!r} in {run}; there are {', '.join(names)}")
    return folder / name


def note_on(folder: Path) -> str:
    """Return the note of a run on its adapter: that it is hand-made, or no better than a head alone; empty if there is
    no such note, or the adapter is in no run."""
    for path in (folder, folder.parent):
        if (path.parent / "best.json").is_file():
            return Recommended.read(path.parent / "best.json").notes.get(path.name, "")
    return ""
