"""Commands that look at tasks and at the machine."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..errors import SlatError
from .group import main
from .terminal import echo_json, json_option, settings


@main.command()
@click.argument("task", required=False)
@click.option("--seed", default=0, show_default=True, help="Of the splits, where TASK is a name.")
@settings
@click.option("--examples", default=3, show_default=True, help="How many rows to show.")
@json_option
def tasks(task: str | None, seed: int, settings: tuple[str, ...], examples: int, as_json: bool) -> None:
    """List known tasks, or describe one.

    TASK is a name, or the YAML file of a run.

    \b
    Example:
        slat tasks
        slat tasks bbc-match
        slat tasks mine.yaml
    """
    is_config = Path(task or "").suffix in (".yaml", ".yml")
    if settings and not is_config:
        raise SlatError("--set: sets fields of a configuration; give its YAML file")
    from ..config import Task, load_config
    from ..tasks.describe import catalogue, description, known_tasks, task_facts

    described, seed_of = [Task(name=task)] if task else [], seed
    if is_config:
        config = load_config(str(task), settings=settings)
        described, seed_of = [*(config.tasks or (config.task,))], config.seed
    if as_json:
        echo_json(task_facts(one, seed_of, examples) for one in described) if task else echo_json(known_tasks())
    elif task is None:
        click.echo(catalogue())
    else:
        for one in described:
            click.echo(description(one, seed_of, examples))


@main.command()
@click.option("--address", help="Ray cluster, e.g. `auto`.  [default: RAY_ADDRESS, or a Ray of its own]")
@json_option
def doctor(address: str | None, as_json: bool) -> None:
    """Check this machine for what a run needs.

    The exit code is 1 where something is missing.

    \b
    Example:
        slat doctor
    """
    from ..doctor import run_checks

    problems = 0
    for finding in run_checks(address):
        problems += finding.mark == "problem"
        if as_json:
            echo_json([{"name": finding.name, "said": finding.detail, "mark": finding.mark}])
            continue
        click.echo(f"{finding.mark:<9}{finding.name:<18}{finding.detail}")
    sys.exit(bool(problems))
