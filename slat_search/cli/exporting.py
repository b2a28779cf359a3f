"""Command that writes an adapter for other libraries."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import SlatError
from .group import main
from .results import note_on_adapter
from .terminal import verbosity


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A new folder.")
@click.option("--format", "form", type=click.Choice(["merged", "peft"]), default="merged", show_default=True)
@click.option("--adapter", help="Which adapter of the run.  [default: the best]")
@click.option("--task", help="Whose adapter, in a run over several tasks.")
@click.option(
    "--task-type",
    type=click.Choice(["SEQ_CLS", "CAUSAL_LM", "FEATURE_EXTRACTION"], case_sensitive=False),
    help="The class to export for, as peft calls it.  [default: CAUSAL_LM for prompts, SEQ_CLS if the head fits, "
    "else FEATURE_EXTRACTION]",
)
@click.option(
    "--uniform-rank",
    is_flag=True,
    help="With peft: pad with zeros to one rank and one alpha at the same projections of all blocks, for servers that "
    "read nothing else (vLLM, TGI). Outputs stay the same.",
)
@click.option("--push", "repository", metavar="ORG/NAME", help="Upload the finished folder to the Hugging Face hub.")
@click.option("--private", is_flag=True, help="With --push: a private repository.")
@click.option("--license", help="For the model card, e.g. apache-2.0.  [default: the base model's, where it is known]")
@verbosity
def export(
    run: Path,
    out: Path,
    form: str,
    adapter: str | None,
    task: str | None,
    task_type: str | None,
    uniform_rank: bool,
    repository: str | None,
    private: bool,
    license: str | None,
) -> None:
    """Write an adapter for other libraries.

    As a plain transformers model with the adapter `merged` into it, or as an adapter of `peft`. What is written is
    loaded again and compared; its README shows how to use it without this library. A bottleneck cannot be merged, and
    peft cannot hold one.

    \b
    Example:
        slat export runs/quickstart --out exported
        slat export runs/quickstart --out exported-peft --format peft --push me/headlines --private
    """
    from ..analysis.formats import in_bytes
    from ..export.forms import export
    from ..export.hub import check_push, push
    from ..inference.saved import adapter_folder

    if private and repository is None:
        raise SlatError("--private: belongs to --push")
    if repository is not None:
        check_push(repository)
    folder = adapter_folder(run, adapter, task)
    exported = export(folder, out, form, task_type=task_type, uniform_rank=uniform_rank, license=license)
    note_on_adapter(folder)
    if exported.reason:
        click.echo(f"note: exported without a class for classification: {exported.reason}", err=True)
    size = in_bytes(sum(path.stat().st_size for path in exported.out.glob("*.safetensors")))
    click.echo(f"{out} ({size}): loaded again, it computes the same; how to use it: {out / 'README.md'}")
    if repository is not None:
        click.echo(f"pushed: {push(exported.out, repository, private)}")
