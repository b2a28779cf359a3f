"""Commands before the first run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import SlatError
from .group import main
from .terminal import echo_data

if TYPE_CHECKING:
    from ..starter import Draft


@main.command()
@click.argument("source", required=False)
@click.option("--task", help="Name of the task; without SOURCE one that is known by name.")
@click.option("--model", help="The frozen model: minilm, a folder, or a name on the Hugging Face hub.")
@click.option("--text", multiple=True, help="Column of texts; twice for pairs.  [default: as names and values tell]")
@click.option("--label", help="Column of labels.  [default: as names and values tell]")
@click.option("--prompt", help="What a causal language model reads: 'Review: {text}'; or alpaca.")
@click.option("--response", help="Column of what it answers; without it, the label.")
@click.option("--out", type=click.Path(path_type=Path), help="A new file.  [default: <name>.yaml]")
def init(
    source: str | None,
    task: str | None,
    model: str | None,
    text: tuple[str, ...],
    label: str | None,
    prompt: str | None,
    response: str | None,
    out: Path | None,
) -> None:
    """Write a first configuration for your data.

    SOURCE is a file (.csv, .tsv, .jsonl, .json, .parquet), a folder of train, validation and test files, or a known
    task. Columns, metric and lengths follow from the data and stand there with comments. Chats, Alpaca's columns, and
    prompts with responses are for a causal language model; so are labels behind a --prompt. In a terminal it asks what
    is not given.

    \b
    Example:
        slat init reviews.csv
        slat init reviews.csv --label stars --model FacebookAI/roberta-base --out reviews.yaml
        slat init reviews.csv --prompt "Review: {text}\\nSentiment:" --label sentiment
        slat init chats.jsonl --model Qwen/Qwen3-0.6B
        slat init --task bbc-match
    """
    from ..starter import draft, write_starter

    asks = _is_terminal()
    if source is None and task is None and asks:
        source = click.prompt("file of labelled texts, or known task")
    if source is None and task is None:
        raise SlatError("init: give a file of labelled texts, or --task with a known one (`slat tasks` lists them)")
    prompt = prompt.replace("\\n", "\n") if prompt else prompt  # shells write it so
    starter = draft(source or str(task), text, label, task if source else None, prompt, response)
    if asks:
        starter = _asked(starter, text, label, model)
    starter = starter.of_model(model) if model else starter
    out = out or Path(f"{starter.name}.yaml")
    write_starter(starter, out)
    click.echo(f"{out}: written; next:")
    click.echo(f"  slat tasks {out}            # look at the data")
    click.echo(f"  slat run {out} --dry-run    # what will be trained, and how long it takes")
    click.echo(f"  slat run {out}")


def _is_terminal() -> bool:
    """Whether a user can answer."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _asked(starter: Draft, text: tuple[str, ...], label: str | None, model: str | None) -> Draft:
    """Ask for what was not given, with what the data tells as the default."""
    from ..tasks.columns import Columns

    columns = starter.columns
    if isinstance(columns, Columns) and not text:
        answer = click.prompt("columns of texts, one or two, with a comma", ",".join(columns.text))
        text = tuple(column.strip() for column in answer.split(","))
    if isinstance(columns, Columns) and label is None:
        label = click.prompt("column of labels", columns.label)
    if isinstance(columns, Columns):
        starter = starter.of_columns(text, label)
    return starter if model else starter.of_model(click.prompt("model", starter.model))


@main.command()
def schema() -> None:
    """Print the JSON schema of the configuration.

    For editors and other programs. Files of `slat init` name it, so that an editor with a YAML language server
    completes and checks them.

    \b
    Example:
        slat schema > slat-schema.json
    """
    from ..config.schema import schema

    echo_data(json.dumps(schema(), indent=1) + "\n")
