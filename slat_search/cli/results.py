"""Commands on what runs left."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import SlatError
from .group import main
from .terminal import echo_data, echo_json, json_option, verbosity

_log = logging.getLogger(__name__)
STANDARD_INPUT = Path("-")
_SHOWN = 8  # labels of a text, the likeliest; JSON has all

if TYPE_CHECKING:
    from ..config.task import Quoting
    from ..inference.predictor import Predictor
    from ..tasks.rows import Rows


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--text", "texts", multiple=True, help="A text to label; may be given several times.")
@click.option("--text-pair", "pairs", multiple=True, help="Second text, for tasks with text pairs.")
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    help="A file of texts: .csv, .tsv, .json, .jsonl, .parquet; - reads JSON, CSV, TSV or a text a line from a pipe.",
)
@click.option("--column", "columns", multiple=True, help="Where --file has a text.  [default: as in training]")
@click.option("--out", type=click.Path(path_type=Path), help="A new file for the result.  [default: print CSV]")
@click.option(
    "--quoting",
    type=click.Choice(["quoted", "none"]),
    help="Whether quotes hold fields together in .csv and .tsv, or are text.  [default: quoted in .csv, none in .tsv]",
)
@click.option(
    "--raw",
    is_flag=True,
    help="Keep texts in .csv and .tsv as they are, that a spreadsheet would run as formulas, too.",
)
@click.option("--adapter", help="Which adapter of the run.  [default: the best]")
@click.option("--task", help="Whose adapter, in a run over several tasks.")
@click.option("--trust-remote-code", is_flag=True, help="Allow Python code shipped with the adapter's model.")
@json_option
@verbosity
def predict(
    run: Path,
    texts: tuple[str, ...],
    pairs: tuple[str, ...],
    file: Path | None,
    columns: tuple[str, ...],
    out: Path | None,
    quoting: Quoting | None,
    raw: bool,
    adapter: str | None,
    task: str | None,
    trust_remote_code: bool,
    as_json: bool,
) -> None:
    """Label texts, or all rows of a file.

    RUN is a run folder or an adapter folder. A file keeps its columns and gets `predicted` and, for each label, a
    probability `p(label)`. In .csv and .tsv a text that begins with =, +, -, @ or a tab and is no number gets an
    apostrophe before it, as spreadsheets would run it; --raw leaves it.

    \b
    Example:
        slat predict runs/headline --text "Chelsea win away at Arsenal"
        slat predict runs/headline --file headlines.csv --column title --out labelled.csv
        cat headlines.txt | slat predict runs/headline --file - --json
        slat predict runs/quickstart --text "Chelsea win away" --text-pair "Arsenal lost 2-0 at home."
    """
    if bool(texts) == (file is not None):
        raise SlatError("predict: give either --text or --file")
    if file is None:
        if columns or out or quoting or raw:
            raise SlatError("predict: --column, --quoting, --raw and --out belong to --file")
        if pairs and len(pairs) != len(texts):
            raise SlatError(f"--text-pair: given {len(pairs)} times, but --text {len(texts)} times")
    elif pairs:
        raise SlatError("--text-pair: of a file, name both columns with --column")
    elif out is not None:
        _check_out(out, as_json)

    from ..inference.predictor import load_predictor
    from ..inference.saved import adapter_folder
    from ..tasks.rows import MOST_BYTES, read_rows
    from ..tasks.stream import read_stream

    rows = None if file is None or file == STANDARD_INPUT else read_rows(file, "--file", quoting)
    folder = adapter_folder(run, adapter, task)
    predictor = load_predictor(folder, trust_remote_code=trust_remote_code)
    note_on_adapter(folder)
    if file == STANDARD_INPUT:
        rows = read_stream(sys.stdin.buffer.read(MOST_BYTES + 1), predictor.columns, columns, quoting)
    if rows is None:
        _print_labels(predictor, texts, pairs, as_json)
    else:
        _label(predictor, rows, columns, out, quoting, as_json, raw)


def _check_out(out: Path, as_json: bool) -> None:
    """Check that the result can be written to a new file.

    Raises:
        SlatError: it cannot.
    """
    from ..tasks.rows import check_ending

    check_ending(out, "--out")
    if out.exists():
        raise SlatError(f"--out: {out} exists already")
    if not out.parent.is_dir():
        raise SlatError(f"--out: no such folder: {out.parent}")
    if as_json:
        raise SlatError("--json: is for what is printed; the ending of --out says what is written")


def note_on_adapter(folder: Path) -> None:
    """Log the caveats of an adapter."""
    from ..inference.saved import note_on

    if note := note_on(folder):
        _log.info(f"note: adapter {folder}: {note}")


def _print_labels(predictor: Predictor, texts: tuple[str, ...], pairs: tuple[str, ...], as_json: bool) -> None:
    import json

    rows: list[str | tuple[str, ...]] = [*zip(texts, pairs, strict=True)] if pairs else [*texts]
    if predictor.generates:
        for text, response in zip(texts, predictor.generate(rows), strict=True):
            click.echo(json.dumps({"text": text, "response": response}, ensure_ascii=False) if as_json else response)
        return
    for text, probabilities in zip(texts, predictor(rows), strict=True):
        if not predictor.labels:
            value = float(probabilities[0])
            click.echo(json.dumps({"text": text, "value": value}) if as_json else f"{value:.3f}\t{text}")
            continue
        ranked = sorted(zip(predictor.labels, probabilities.tolist(), strict=True), key=lambda x: -x[1])
        if as_json:
            click.echo(json.dumps({"text": text, "label": ranked[0][0], "probabilities": dict(ranked)}))
        else:
            likely = ", ".join(f"{n} {p:.3f}" for n, p in ranked[:_SHOWN])
            rest = f", {len(ranked) - _SHOWN} more" if len(ranked) > _SHOWN else ""
            click.echo(f"{ranked[0][0]}\t{likely}{rest}\t{text}")


def _label(
    predictor: Predictor,
    rows: Rows,
    columns: tuple[str, ...],
    out: Path | None,
    quoting: Quoting | None,
    as_json: bool,
    raw: bool,
) -> None:
    from ..inference.label_file import label_rows
    from ..tasks.rows import as_text, check_writable, without_formulas, write_rows

    for note in rows.notes:
        _log.info(note)
    if out is not None:
        check_writable(rows, out, "--out", quoting)
    labelled = label_rows(predictor, rows, columns)
    suffix = out.suffix.lower() if out is not None else ".jsonl" if as_json else ".csv"
    labelled = labelled if raw else without_formulas(labelled, suffix)
    if out is not None:
        write_rows(labelled, out, "--out", quoting)
        click.echo(f"{out}: {len(rows):,} rows")
    else:
        echo_data(as_text(labelled, suffix))


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@json_option
def show(run: Path, as_json: bool) -> None:
    """Print the comparison table of a run.

    Also its conclusion and the path of its report. RUN may be a search or sensitivity studies alone, or a comparison.

    \b
    Example:
        slat show runs/quickstart
    """
    from ..analysis.folder import facts, show
    from ..run_folder import RunFolder

    if as_json:
        echo_json([facts(RunFolder(run))])
    else:
        click.echo(show(RunFolder(run)))


@main.command("list")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("runs"))
@json_option
def list_runs(folder: Path, as_json: bool) -> None:
    """List the runs in a folder.

    And below it, `runs` by default: what became of each, the quality of what it recommends on test (of a search alone
    the best on validation), parameters, size on the disk, and when it was written to last.

    \b
    Example:
        slat list
        slat list experiments --json
    """
    from ..analysis.listing import runs_below, table_of

    runs = runs_below(folder)
    if as_json:
        echo_json(map(vars, runs))
    else:
        click.echo(table_of(runs) if runs else f"{folder}: no runs there")


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@verbosity
def report(run: Path) -> None:
    """Rewrite tables, figures and report of a run.

    From stored trainings and tests; nothing is trained. RUN may be a search or sensitivity studies alone. Where
    only tables were kept of a run, these stay as they are.

    \b
    Example:
        slat report runs/quickstart
    """
    from ..analysis.folder import make_report
    from ..run_folder import RunFolder

    if not run.is_dir():
        raise SlatError(f"{run}: no such folder")
    folder = RunFolder(run)
    with folder.lock():
        page = make_report(folder)
    click.echo(f"report: {page}")


@main.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path())
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs/compare"), show_default=True, help="Where to."
)
@click.option("--against", metavar="METHOD", help="What is tested against.  [default: the best baseline on validation]")
@verbosity
def compare(runs: tuple[str, ...], out: Path, against: str | None) -> None:
    """Compare finished runs.

    RUNS may differ in task, model or search; a run over several tasks takes part with each of them. They come into one
    table with averages, ranks and tests, and a page. What was found stands there as each run's recommended structure
    and its best one, both chosen on validation. LABEL=RUN names methods that several runs of one task have.

    \b
    Example:
        slat compare runs/headline runs/match --out runs/compare
        slat compare a=runs/headline-a a=runs/match-a b=runs/headline-b b=runs/match-b
    """
    from ..analysis.comparison import compare_runs

    page = compare_runs(runs, out, against)
    click.echo((out / "comparison.md").read_text(encoding="utf-8"))
    click.echo(f"report: {page}")
