"""The command line. Thin: every command calls one function of the library."""

from __future__ import annotations

import errno
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import __version__
from .errors import SlatError

if TYPE_CHECKING:
    from .config import Config
    from .run_folder import RunFolder

_STORAGE_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES}


class _Commands(click.Group):
    """Prints a ``SlatError``, or storage that cannot be written, as one sentence and exits with code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SlatError as error:
            click.echo(f"error: {error}", err=True)
        except OSError as error:
            if error.errno not in _STORAGE_ERRNOS:
                raise
            where = f"{error.filename}: " if error.filename else ""
            click.echo(f"error: {where}{error.strerror}; everything finished is kept", err=True)
        sys.exit(2)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="slat")
def main() -> None:
    """Find, by gradient, the best small adapter structure for a frozen transformer.

    \b
    Example:
        slat run experiments/quickstart.yaml
        slat predict runs/quickstart --text "Markets fall after rate rise"
    """


def _run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Argument and options of the commands that train."""
    for decorate in (
        click.option("--address", help="Ray cluster, e.g. `auto`.  [default: RAY_ADDRESS, or a Ray of its own]"),
        click.option(
            "--storage",
            help="Folder or URI (s3://...) that all nodes reach, for checkpoints of trials.  "
            "[default: the run folder; on several nodes none are kept]",
        ),
        click.option("--overwrite", is_flag=True, help="Throw away what is in the folder already."),
        click.option("--resume", is_flag=True, help="Go on with what was interrupted, or has become more."),
        click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/<name>]"),
        click.argument("config", type=click.Path(path_type=Path)),
    ):
        command = decorate(command)
    return command


def _interruptible(work: Callable[..., Any], config: Config, options: dict[str, Any]) -> None:
    """Do it, saying how it goes; Ctrl-C says how to go on."""
    say: Callable[[str], None] = functools.partial(print, flush=True)
    try:
        work(config, say=say, **options)
    except KeyboardInterrupt:
        click.echo("interrupted; everything finished is kept: go on with --resume", err=True)
        sys.exit(130)


def _finished(run: Path) -> RunFolder:
    from .run_folder import RunFolder

    folder = RunFolder(run)
    if not folder.is_done:
        raise SlatError(f"{run}: no finished run there")
    return folder


@main.command()
@_run_options
def run(config: Path, **options: Any) -> None:
    """Search, refit, baselines, test and report, as CONFIG (a YAML file) says.

    \b
    Example:
        slat run experiments/quickstart.yaml
        slat run experiments/quickstart.yaml --resume
    """
    from .config import load_config

    checked = load_config(config)  # before the imports that take seconds
    from . import pipeline

    _interruptible(pipeline.run, checked, options)


@main.command()
@_run_options
def sensitivity(config: Path, **options: Any) -> None:
    """How sparsity weight, noise in training and perturbed text change the search and each baseline of CONFIG.

    Three studies, each with every seed, and a screening of all that the search samples. They go to the folder
    `sensitivity` of the run; a finished run gets them as a section of its report.

    \b
    Example:
        slat sensitivity experiments/quickstart.yaml
        slat sensitivity experiments/quickstart.yaml --resume
    """
    from .config import load_config

    checked = load_config(config)
    from . import sensitivity as studies

    _interruptible(studies.run, checked, options)


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--text", "texts", multiple=True, required=True, help="Text to classify; may be given several times.")
@click.option("--text-pair", "pairs", multiple=True, help="Second text, for tasks with text pairs.")
@click.option("--adapter", help="Which adapter of the run.  [default: the best]")
@click.option("--task", help="Whose adapter, in a run over several tasks.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def predict(
    run: Path, texts: tuple[str, ...], pairs: tuple[str, ...], adapter: str | None, task: str | None, as_json: bool
) -> None:
    """Label texts with an adapter of RUN, a run folder or an adapter folder.

    \b
    Example:
        slat predict runs/quickstart --text "Chelsea win away at Arsenal"
    """
    import json

    from .training.bundle import adapter_folder, load_bundle

    if pairs and len(pairs) != len(texts):
        raise SlatError(f"--text-pair: given {len(pairs)} times, but --text {len(texts)} times")
    predictor = load_bundle(adapter_folder(run, adapter, task))
    rows: list[str | tuple[str, ...]] = [*zip(texts, pairs, strict=True)] if pairs else [*texts]
    for text, probabilities in zip(texts, predictor(rows), strict=True):
        if not predictor.labels:
            value = float(probabilities[0])
            click.echo(json.dumps({"text": text, "value": value}) if as_json else f"{value:.3f}\t{text}")
            continue
        ranked = sorted(zip(predictor.labels, probabilities.tolist(), strict=True), key=lambda x: -x[1])
        if as_json:
            click.echo(json.dumps({"text": text, "label": ranked[0][0], "probabilities": dict(ranked)}))
        else:
            click.echo(f"{ranked[0][0]}\t{', '.join(f'{n} {p:.3f}' for n, p in ranked)}\t{text}")


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A new folder.")
@click.option("--format", "form", type=click.Choice(["merged", "peft"]), default="merged", show_default=True)
@click.option("--adapter", help="Which adapter of the run.  [default: the best]")
@click.option("--task", help="Whose adapter, in a run over several tasks.")
def export(run: Path, out: Path, form: str, adapter: str | None, task: str | None) -> None:
    """Write an adapter of RUN for other libraries: `merged` into its model, or as an adapter of `peft`.

    What is written is loaded again and compared; its README shows how to use it without this library. A bottleneck
    cannot be merged, and peft cannot hold one.

    \b
    Example:
        slat export runs/quickstart --out exported
        slat export runs/quickstart --out exported --format peft
    """
    from .export import export
    from .training.bundle import adapter_folder

    export(adapter_folder(run, adapter, task), out, form)
    click.echo(f"{out}: loaded again, it computes the same; how to use it: {out / 'README.md'}")


@main.command("add-task")
@click.argument("pool", type=click.Path(path_type=Path))
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the larger pool.")
@click.option("--sparsity", default=1.0, show_default=True, help="Weight of what new modules cost.")
@click.option("--budget", type=float, help="Parameters of new modules, in the place of a sparsity weight.")
@click.option("--sharing", default=0.0, show_default=True, help="What a use of the pool's modules costs.")
@click.option("--learning-rate", default=2e-3, show_default=True, help="Of new modules; see `gates.growth`.")
@click.option("--gate-learning-rate", default=0.1, show_default=True, help="Of trained gates.")
def add_task(pool: Path, config: Path, out: Path, budget: float | None, **sampled: float) -> None:
    """Add the task of CONFIG to POOL, an adapter folder of a run over several tasks.

    The new task may use what the pool has, and gets modules of its own beside it. What the other tasks have stays as
    it is, bit for bit.

    \b
    Example:
        slat add-task runs/three/adapters/slat-3f2a1c mine.yaml --out pools/four
        slat predict pools/four/mine --text "..."
    """
    from .config import load_config

    checked = load_config(config)
    from .training.addition import add_task

    found = add_task(pool, checked, out, {**sampled, **({} if budget is None else {"budget": budget})})
    click.echo(
        f"{checked.task.name}: validation {found['validation']['quality']:.3f}, test {found['test']:.3f}; uses "
        f"{found['params']:,} parameters, {found['new']:,} of them new; {out}"
    )


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
def show(run: Path) -> None:
    """Print the comparison table of RUN and where its report lies.

    \b
    Example:
        slat show runs/quickstart
    """
    folder = _finished(run)
    click.echo((folder / "comparison.md").read_text())
    click.echo(f"report: {folder / 'report.html'}")


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
def report(run: Path) -> None:
    """Write tables, figures and report of RUN anew from what its trainings and tests left; trains nothing.

    \b
    Example:
        slat report runs/quickstart
    """
    from .analysis.pool import analyse_pool
    from .analysis.report import analyse

    folder = _finished(run)
    with folder.lock():
        (analyse_pool if (folder / "alone.json").is_file() else analyse)(folder)
    click.echo(f"report: {folder / 'report.html'}")


@main.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs/compare"), show_default=True, help="Where to."
)
def compare(runs: tuple[Path, ...], out: Path) -> None:
    """Compare finished RUNs over tasks, models or searches: one table with averages, ranks and tests, and a page.

    What was found stands there as each run's recommended structure and its best one, both chosen on validation.

    \b
    Example:
        slat compare runs/headline runs/match --out runs/compare
    """
    from .analysis.across import compare_runs

    page = compare_runs(runs, out)
    click.echo((out / "comparison.md").read_text(encoding="utf-8"))
    click.echo(f"report: {page}")


@main.command()
@click.argument("task", required=False)
@click.option("--seed", default=0, show_default=True, help="Of the splits, where TASK is a name.")
@click.option("--examples", default=3, show_default=True, help="How many rows to show.")
def tasks(task: str | None, seed: int, examples: int) -> None:
    """List the tasks that are known by name, or describe TASK: a name, or the YAML file of a run.

    \b
    Example:
        slat tasks
        slat tasks bbc-match
        slat tasks mine.yaml
    """
    from .config import Task, load_config
    from .tasks.describe import catalogue, description

    if task is None:
        click.echo(catalogue())
    elif Path(task).suffix in (".yaml", ".yml"):
        config = load_config(task)
        for one in config.tasks or (config.task,):
            click.echo(description(one, config.seed, examples))
    else:
        click.echo(description(Task(name=task), seed, examples))


@main.command()
@click.option("--address", help="Ray cluster, e.g. `auto`.  [default: RAY_ADDRESS, or a Ray of its own]")
def doctor(address: str | None) -> None:
    """Look at what this machine has of what a run needs; exit code 1 where something is missing.

    \b
    Example:
        slat doctor
    """
    from .doctor import examine

    problems = 0
    for finding in examine(address):
        problems += finding.mark == "problem"
        click.echo(f"{finding.mark:<9}{finding.name:<18}{finding.said}")
    sys.exit(bool(problems))
