"""Layout of a run folder, with atomic writes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

from .config import (
    Config,
    differences,
    load_config,
    told,
    without_secrets,
)
from .errors import SlatError
from .files import (
    MANIFEST,
    HeldError,
    as_text,
    check_regular,
    is_held,
    keep_digests,
    locked,
    read_json,
    read_listed,
    write_listed,
)

#: folder of the sensitivity studies inside a run's
STUDIES = "sensitivity"
#: file that marks the folder of a comparison of runs
COMPARISON = "compared.json"
_NOT_THE_RUN = (".lock", ".lock.held", STUDIES)
#: files opened by other libraries; our readers refuse pipes and devices themselves
_OPENED = (".lock", ".lock.held", "search/study.journal")
#: files of a run stopped before its configuration was written
_BEGUN = (MANIFEST, "environment.json", ".*.part")
#: all that a run or its studies write, as patterns
_TABLES = (
    *("trials", "history", "results", "comparison", "pareto", "perturbation", "robustness", "budget", "transfer"),
    *("baselines", "curves", "curves_by_task", "screening", "importance"),
)
_WRITTEN = (
    *("config.yaml", "environment.json", "done.json", "selection.json", "alone.json", "points.json", MANIFEST),
    *("hypervolume.json", "mistakes.json", "comparison.md", "comparison.tex", "answer.md", "report.html"),
    ".*.part",
    *("search", "screening", "units", "structures", "adapters", "figures"),
    *(f"{name}.csv" for name in _TABLES),
)

Fields = Mapping[str, Any]


class Writable(Protocol):
    """A record that stands in a file of its own."""

    def write(self, path: Path) -> None: ...


class RunFolder:
    """Paths of one run, or of the sensitivity studies of one.

    ``config.yaml environment.json search/ units/ trials.csv results.csv comparison.csv|md|tex pareto.csv
    hypervolume.json structures/ adapters/ figures/ report.html sensitivity/``; ``done.json`` is written last.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root).resolve()

    def __truediv__(self, name: str) -> Path:
        return self.root / name

    def __fspath__(self) -> str:
        return str(self.root)

    @property
    def is_done(self) -> bool:
        try:
            return isinstance(read_json(self / "done.json"), dict)
        except SlatError:  # missing, or cut: what it marks is then done again
            return False

    @property
    def exists(self) -> bool:
        return (self / "config.yaml").is_file() and (self / "environment.json").is_file()

    @property
    def content(self) -> list[Path]:
        """Return the entries of the folder that belong to this run."""
        return [p for p in self.root.iterdir() if p.name not in _NOT_THE_RUN] if self.root.exists() else []

    def check_free(self) -> None:
        """Check that a run may begin in this folder.

        Raises:
            SlatError: the folder holds files of no run.
        """
        if not self.exists and not all(any(map(path.match, _BEGUN)) for path in self.content):
            raise SlatError(f"--out: {self.root} is not empty and not a run folder; choose another")

    def clear(self) -> None:
        """Remove the files that a run wrote; other files stay.

        Raises:
            SlatError: see :meth:`check_free`.
        """
        self.check_free()
        for path in self.content:
            if any(path.match(pattern) for pattern in _WRITTEN):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def already_done(
        self, config: Config, resume: bool, may_differ: Fields | None = None, may_grow: Fields | None = None
    ) -> bool:
        """Whether nothing is left to do for ``config``.

        Args:
            may_differ: fields that do not affect this folder, as pydantic's ``exclude``.
            may_grow: fields that may change when it is resumed.

        Raises:
            SlatError: an unfinished run without ``resume``, or a run of another configuration.
        """
        if not self.exists:
            self.check_free()
            return False
        stored, ignored = load_config(self / "config.yaml", stored=True), dict(may_differ or {})
        if fixed := differences(stored, config, {**ignored, **(may_grow or {})}):
            raise SlatError(
                f"--out: {self.root} holds a run with another configuration: {told(fixed)}; use --overwrite or another "
                "--out"
            )
        changed = differences(stored, config, ignored)
        done = self.is_done and not changed
        if not done and not resume:
            what = f"this run with other fields: {told(changed)}" if self.is_done else "an unfinished run"
            raise SlatError(f"--out: {self.root} holds {what}; use --resume to continue it or --overwrite")
        return done

    def begin(self, config: Config, environment: Writable) -> None:
        """Mark the folder as a run in progress; its configuration is kept without the secrets of URIs."""
        (self / "done.json").unlink(missing_ok=True)
        keep_digests(self.root)
        environment.write(self / "environment.json")
        write_listed(self / "config.yaml", without_secrets(config).to_yaml())

    def choose_anew(self) -> None:
        """Remove the results of earlier choices, which new trials may change. Trainings stay."""
        for chosen in ("structures", "adapters"):
            shutil.rmtree(self / chosen, ignore_errors=True)

    @property
    def is_at_work(self) -> bool:
        """Whether a process holds the folder."""
        return is_held(self / ".lock")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder; a second run in it is refused. The lock dies with the process.

        Raises:
            SlatError: another process holds it, or the folder cannot be written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for name in _OPENED:
                check_regular(self.root / name)
            with ExitStack() as stack:
                stack.enter_context(locked(self / ".lock"))
                locks = stack.pop_all()
        except HeldError as error:
            raise SlatError(f"--out: another run is at work in {self.root}{error}") from error
        except OSError as error:
            raise SlatError(f"--out: cannot write to {self.root}: {error.strerror}") from error
        with locks:
            yield


def without_results(folder: RunFolder) -> str:
    """Return the message on a folder that has no tested results."""
    resume = "`slat run CONFIG --resume` does the rest"
    if (folder / COMPARISON).is_file():
        return f"{folder.root}: is a comparison of runs, and no run; give the runs themselves"
    if (folder / "points.json").is_file():
        return f"{folder.root}: holds sensitivity studies alone, and no finished run"
    if (folder / "trials.csv").is_file():
        return f"{folder.root}: no finished run there, but a search alone; {resume}"
    if (folder / "baselines.csv").is_file():
        return f"{folder.root}: no finished run there, but baselines alone; {resume}"
    if folder.exists:
        return f"{folder.root}: the run there has no results yet; {resume}"
    return f"{folder.root}: no finished run there"


def outcome(folder: RunFolder) -> str:
    """Return the comparison of a tested run and its answer."""
    texts = [folder / name for name in ("comparison.md", "answer.md")]
    return "\n".join(as_text(read_listed(path), path) for path in texts if path.is_file())


@contextmanager
def results_stay(folder: RunFolder) -> Iterator[None]:
    """Guard the drawing of pages: a failure says that the results are on the disk.

    Raises:
        SlatError: any failure but unwritable storage; says what is kept and how to continue.
    """
    try:
        yield
    except (OSError, SlatError):
        raise
    except Exception as error:
        raise SlatError(
            f"{folder / 'report.html'}: could not be made ({type(error).__name__}: {error}); trainings, tables and "
            f"adapters are kept and can be used, and `slat report {folder.root}` makes it anew"
        ) from error
