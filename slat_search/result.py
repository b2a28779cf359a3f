"""Results of a run in Python: tables, recommendation and predictor."""

from __future__ import annotations

import base64
import html
from typing import TYPE_CHECKING

import pandas as pd

from .analysis.choice import recommended_in
from .analysis.data import read_results, read_trials
from .analysis.tables import comparison
from .errors import SlatError
from .records import Environment
from .run_folder import RunFolder, without_results

if TYPE_CHECKING:
    from .inference.predictor import Predictor

_SHOWN = {
    "name": "method",
    "params": "parameters",
    "validation": "validation",
    "quality": "test",
    "retained": "retained",
}


class RunResult(RunFolder):
    """A run folder with its results as data frames; returned by :func:`.run`.

    Notebooks display the answer, the table and the front. Missing results of an unfinished run raise a one-sentence
    error.

    Example:
        >>> result = RunResult("experiments/results/quickstart")
        >>> result.best["name"]
        'SLAT 21.2k (trial 5)'
    """

    @property
    def trials(self) -> pd.DataFrame:
        """Return one row per trial of the search: sampled values, last measures, status.

        Raises:
            SlatError: the search is not over.
        """
        if not (self / "trials.csv").is_file():
            raise SlatError(without_results(self))
        return read_trials(self)

    @property
    def table(self) -> pd.DataFrame:
        """Return means over seeds per method: ``name``, ``params``, ``validation`` and ``quality`` (on test),
        ``retained`` under perturbation, ``on_front`` and more; found ones first.

        Raises:
            SlatError: nothing was tested yet.
        """
        if not (self / "results.csv").is_file():
            raise SlatError(without_results(self))
        return comparison(read_results(self, Environment.read(self / "environment.json")))

    @property
    def front(self) -> pd.DataFrame:
        """Return the front over quality, parameters and quality under perturbation; raises like :attr:`table`."""
        table = self.table
        return table[table["on_front"]].sort_values("params", ignore_index=True)

    @property
    def best(self) -> pd.Series:
        """Return the row of the table that the run recommends: the smallest within ``search.tolerance`` of the best on
        validation; raises as :attr:`table` does."""
        row = recommended_in(self, self.table)
        if row is None:
            raise SlatError(f"{self.root}: no method of the run leaves an adapter")
        return row

    @property
    def answer(self) -> str:
        """Return the conclusion of the run; empty before its tests."""
        path = self / "answer.md"
        return path.read_text(encoding="utf-8").strip() if path.is_file() else ""

    def predictor(self, adapter: str | None = None, task: str | None = None) -> Predictor:
        """Load an adapter of the run on its model.

        Args:
            adapter: label of the adapter; the recommended one by default.
            task: whose adapter, in a run over several tasks.

        Raises:
            SlatError: no such adapter, or a model that is not the one of the run.
        """
        from .inference.predictor import load_predictor

        return load_predictor(self, adapter, task)

    def __repr__(self) -> str:
        state = "done" if self.is_done else "not finished"
        return f"RunResult({str(self.root)!r}): {self.answer or state}"

    def _repr_html_(self) -> str:
        """Return answer, table and front for a notebook."""
        try:
            table = self.table
        except SlatError as error:
            return f"<p>{html.escape(str(error))}</p>"
        best = self.best["method"]
        shown = (
            table[[*_SHOWN]]
            .rename(columns=_SHOWN)
            .assign(
                front=["yes" if on else "" for on in table["on_front"]],
                recommended=["yes" if method == best else "" for method in table["method"]],
            )
        )
        rows = shown.to_html(index=False, float_format="{:.3f}".format, formatters={"parameters": "{:,}".format})
        said = [part for part in self.answer.split("\n\n") if not part.startswith("|")]  # tables are shown below
        words = "".join(f"<p>{html.escape(part)}</p>\n" for part in said)
        return f"{words}{rows}\n{self._front_image()}"

    def _front_image(self) -> str:
        path = self / "figures" / "pareto.png"
        if not path.is_file():
            return ""
        data = base64.b64encode(path.read_bytes()).decode()
        return f'<img alt="quality and retained quality against parameters" src="data:image/png;base64,{data}">'
