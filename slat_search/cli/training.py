"""Commands that train."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..interruption import Interrupted, ended_by_signals
from .group import main
from .terminal import settings, verbosity

if TYPE_CHECKING:
    from ..config import Config
    from ..pipeline import Stage
    from ..run_folder import RunFolder


def _run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Argument and options of the commands that train."""
    for decorate in (
        verbosity,
        click.option("--address", help="Ray cluster, e.g. `auto`.  [default: RAY_ADDRESS, or a Ray of its own]"),
        click.option(
            "--storage",
            help="Folder or URI (s3://...) that all nodes reach, for checkpoints of trials.  "
            "[default: the run folder; on several nodes none are kept]",
        ),
        click.option("--overwrite", is_flag=True, help="Throw away what is in the folder already."),
        click.option("--resume", is_flag=True, help="Continue an interrupted or extended run."),
        click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/<name>]"),
        settings,
        click.argument("config", type=click.Path(path_type=Path)),
    ):
        command = decorate(command)
    return command


def _run(work: Callable[..., RunFolder], config: Config, options: dict[str, Any], stage: Stage | None = None) -> None:
    """Run it and print the result; on Ctrl-C or a signal say how to continue."""
    from ..analysis.folder import show

    try:
        with ended_by_signals(give_up=lambda interrupted: os._exit(_interrupted(interrupted))):
            folder = work(config, **options)
    except KeyboardInterrupt as interrupt:
        sys.exit(_interrupted(interrupt))
    click.echo(show(folder, None if folder.is_done else stage))


def _interrupted(interrupt: KeyboardInterrupt) -> int:
    """Say how to go on; returns the exit code. A terminal that is gone hears nothing."""
    number = interrupt.number if isinstance(interrupt, Interrupted) else signal.SIGINT
    by = f" by {interrupt}" if isinstance(interrupt, Interrupted) else ""
    with suppress(OSError):
        click.echo(f"interrupted{by}; everything finished is kept: continue with --resume", err=True)
    return 128 + number


def _run_stage(stage: Stage | None, config: Path, settings: Sequence[str], options: dict[str, Any]) -> None:
    from ..config import load_config

    checked = load_config(config, settings=settings)  # before the imports that take seconds
    from .. import pipeline

    _run(pipeline.run, checked, {"stage": stage, **options}, stage)


@main.command()
@click.option("--dry-run", is_flag=True, help="Say what will be trained and about what it takes, and train nothing.")
@_run_options
def run(config: Path, settings: tuple[str, ...], dry_run: bool, **options: Any) -> None:
    """Search, train, test and report.

    CONFIG is a YAML file. Found structures are trained again beside the baselines, and all are tested once.

    \b
    Example:
        slat run experiments/quickstart.yaml
        slat run experiments/quickstart.yaml --dry-run
        slat run experiments/quickstart.yaml --resume
        slat run experiments/quickstart.yaml --set search.trials=12 --set evaluation.ratios=[0.1]
    """
    if dry_run:
        _dry_run(config, settings, options)
    else:
        _run_stage(None, config, settings, options)


def _dry_run(config: Path, settings: Sequence[str], options: dict[str, Any]) -> None:
    from ..config import load_config

    checked = load_config(config, settings=settings)
    from ..forecast import forecast, text_of
    from ..run_folder import RunFolder

    click.echo(text_of(forecast(checked), RunFolder(options["out"] or Path("runs") / checked.name)))


@main.command()
@_run_options
def search(config: Path, settings: tuple[str, ...], **options: Any) -> None:
    """Search alone.

    Structures are found and chosen, nothing is trained again, and test is not read. They are in `structures` of the run
    folder, every trial in `trials.csv`. `slat run CONFIG --resume` does the rest.

    \b
    Example:
        slat search experiments/quickstart.yaml
        slat run experiments/quickstart.yaml --resume
    """
    _run_stage("search", config, settings, options)


@main.command()
@_run_options
def baselines(config: Path, settings: tuple[str, ...], **options: Any) -> None:
    """Tune and train the baselines alone.

    On validation; test is not read. Those in the size of found structures wait for the search. `slat run CONFIG
    --resume` does the rest.

    \b
    Example:
        slat baselines experiments/quickstart.yaml
        slat run experiments/quickstart.yaml --resume
    """
    _run_stage("baselines", config, settings, options)


@main.command()
@_run_options
def sensitivity(config: Path, settings: tuple[str, ...], **options: Any) -> None:
    """Study how much the settings matter.

    Three studies (sparsity weight, noise in training, perturbed text) of the search and each baseline, with every seed,
    and a screening of all that the search samples; over several tasks one more, of the weight of sharing. They go to
    the folder `sensitivity` of the run; a finished run gets them as a section of its report.

    \b
    Example:
        slat sensitivity experiments/quickstart.yaml
        slat sensitivity experiments/quickstart.yaml --resume
    """
    from ..config import load_config

    checked = load_config(config, settings=settings)
    from .. import sensitivity as studies

    _run(studies.run, checked, options)


@main.command("add-task")
@click.argument("pool", type=click.Path(path_type=Path))
@click.argument("config", type=click.Path(path_type=Path))
@settings
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the larger pool.")
@click.option("--sparsity", default=1.0, show_default=True, help="Weight of what new modules cost.")
@click.option("--budget", type=float, help="Parameters of new modules, instead of a sparsity weight.")
@click.option("--sharing", default=0.0, show_default=True, help="What a use of the pool's modules costs.")
@click.option("--learning-rate", default=2e-3, show_default=True, help="Of new modules; see `gates.lr_growth`.")
@click.option("--gate-learning-rate", default=0.1, show_default=True, help="Of trained gates.")
@verbosity
def add_task(
    pool: Path, config: Path, settings: tuple[str, ...], out: Path, budget: float | None, **sampled: float
) -> None:
    """Add a task to a trained pool.

    POOL is an adapter folder of a run over several tasks, CONFIG names the new one. It may use what the pool has, and
    gets modules of its own beside it. What the other tasks have stays as it is, bit for bit.

    \b
    Example:
        slat add-task runs/three/adapters/slat-3f2a1c mine.yaml --out pools/four
        slat predict pools/four/mine --text "..."
    """
    from ..config import load_config

    checked = load_config(config, settings=settings)
    from ..inference.addition import add_task

    addition = add_task(pool, checked, out, {**sampled, **({} if budget is None else {"budget": budget})})
    click.echo(
        f"{checked.task.name}: validation {addition['validation'].quality:.3f}, test {addition['test']:.3f}; uses "
        f"{addition['params']:,} parameters, {addition['new']:,} of them new; {out}"
    )
