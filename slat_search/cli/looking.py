"""Commands that look at tasks and at the machine."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..errors import SlatError
from .group import main
from .terminal import settings


@main.command()
@click.argument("task", required=False)
@click.option("--seed", default=0, show_default=True, help="Of the splits, where TASK is a name.")
@settings
@click.option("--examples", default=3, show_default=True, help="How many rows to show.")
def tasks(task: str | None, seed: int, settings: tuple[str, ...], examples: int) -> None:
    """List known tasks, or describe one.

    TASK is a name, or the YAML file of a run.

    \b
    Example:
        slat tasks
        slat tasks bbc-match
        slat tasks mine.yaml
    """
    from ..config import Task, load_config
    from ..tasks.describe import catalogue, description

    if settings and Path(task or "").suffix not in (".yaml", ".yml"):
        raise SlatError("--set: sets fields of a configuration; give its YAML file")
    if task is None:
        click.echo(catalogue())
    elif Path(task).suffix in (".yaml", ".yml"):
        config = load_config(task, settings=settings)
        for one in config.tasks or (config.task,):
            click.echo(description(one, config.seed, examples))
    else:
        click.echo(description(Task(name=task), seed, examples))


@main.command()
@click.option("--address", help="Ray cluster, e.g. `auto`.  [default: RAY_ADDRESS, or a Ray of its own]")
def doctor(address: str | None) -> None:
    """Check this machine for what a run needs.

    The exit code is 1 where something is missing.

    \b
    Example:
        slat doctor
    """
    from ..doctor import examine

    problems = 0
    for finding in examine(address):
        problems += finding.mark == "problem"
        click.echo(f"{finding.mark:<9}{finding.name:<18}{finding.said}")
    sys.exit(bool(problems))
