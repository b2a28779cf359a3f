"""Figures of a run. Colours are Okabe and Ito's, which colour-blind readers can tell apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import sharing
from .choice import recommended
from .curves import (
    MARKERS,
    Line,
    in_percent,
    panels,
    plt,
)
from .data import RunData
from .robustness import kinds_of
from .tables import found_ones

FOUND, BASELINE = "#0072B2", "#D55E00"


def save_all(folder: Path, data: RunData, table: pd.DataFrame) -> dict[str, Path]:
    """Write every figure as PNG; returns name -> path."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "pareto": pareto(table, data),
        **({"gates": gate_maps(data, table)} if len(found_ones(table)) else {}),
        **({"perturbation": perturbation(data, table)} if data.robustness else {}),
        "search": search(data),
    }
    best = recommended(found_ones(table), data.config.tolerance)
    if data.several and best is not None:
        figures["sharing"] = sharing.figure(data.structures[best["method"]], data.environment.model.layers)
    paths = {}
    for name, figure in figures.items():
        paths[name] = folder / f"{name}.png"
        figure.savefig(paths[name], bbox_inches="tight")
        plt.close(figure)
    return paths


def pareto(table: pd.DataFrame, data: RunData) -> Figure:
    """Test quality and retained quality against parameters (log scale), one point a method."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.3))
    metric = data.config.metric
    for axis, column, label in (
        (axes[0], "quality", f"test {metric}"),
        (axes[1], "retained", "retained quality under perturbation"),
    ):
        _front_line(axis, table, column)
        for position, (_, row) in enumerate(table.iterrows()):
            colour = FOUND if row["family"] == "slat" else BASELINE
            axis.errorbar(
                max(row["params"], 1),
                row[column],
                yerr=None if np.isnan(row[f"{column}_sd"]) else row[f"{column}_sd"],
                fmt=MARKERS[position % len(MARKERS)],
                color=colour,
                markersize=8,
                capsize=3,
                linewidth=1,
                label=row["name"],
            )
        axis.set_xscale("symlog", linthresh=100)
        axis.set_xlim(left=-20)
        axis.set_xlabel("adapter parameters (without head)")
        axis.set_ylabel(label)
        axis.grid(alpha=0.25)
    axes[1].legend(fontsize=8, frameon=False, bbox_to_anchor=(1.02, 1), loc="upper left")
    figure.tight_layout()
    return figure


def _front_line(axis: Axes, table: pd.DataFrame, column: str) -> None:
    """Best value reachable with at most so many parameters, as steps."""
    ordered = table.sort_values("params")
    best = ordered[column].cummax()
    x, y = ordered["params"].clip(lower=1).tolist(), best.tolist()
    axis.step([*x, x[-1] * 2], [*y, y[-1]], where="post", color="#bbbbbb", linewidth=1.2, zorder=0)


def gate_maps(data: RunData, table: pd.DataFrame) -> Figure:
    """Layer x module of each found structure: parameters as colour, kinds and sizes as text."""
    found = found_ones(table)
    layers, columns = data.environment.model.layers, data.environment.model.site_columns
    figure, axes = plt.subplots(
        len(found), 1, figsize=(1.4 * len(columns) + 2, (0.42 * layers + 1.1) * len(found)), squeeze=False
    )
    for axis, (_, row) in zip(axes[:, 0], found.iterrows(), strict=True):
        modules = data.structures[row["method"]]["modules"]
        sizes = np.zeros((layers, len(columns)))
        words: dict[tuple[int, int], list[str]] = {}
        for m in modules:
            cell = (m["layer"], columns.index(m["name"].split(f".{m['layer']}.", 1)[1]))
            sizes[cell] += m["params"]
            words.setdefault(cell, []).append(_word(m))
        shade = np.ma.masked_equal(np.log10(sizes + 1), 0)
        least = 1.5 if shade.min() > 1.5 else 0  # few parameters have to be seen as well
        axis.imshow(shade, cmap="Blues", vmin=least, vmax=5, aspect="auto", origin="lower")
        for (layer, column), parts in words.items():
            dark = sizes[layer, column] > 6000
            axis.text(
                column, layer, " ".join(parts), ha="center", va="center", fontsize=7, color="white" if dark else "black"
            )
        axis.set_xticks(range(len(columns)), [_short(c) for c in columns], fontsize=8, rotation=20, ha="right")
        axis.set_yticks(range(layers), [str(i) for i in range(layers)])
        axis.set_ylabel("layer")
        axis.set_title(
            f"{row['name']}: {row['params']:,} parameters, test {row['quality']:.3f}", loc="left", fontsize=10
        )
        axis.set_xticks(np.arange(-0.5, len(columns)), minor=True)
        axis.set_yticks(np.arange(-0.5, layers), minor=True)
        axis.grid(which="minor", color="#dddddd", linewidth=0.6)
        axis.tick_params(which="minor", length=0)
    figure.text(
        0.01,
        -0.01,
        "E spectral entries · L LoRA rank · P parallel width · S serial width · n norm · b bias · i IA3",
        fontsize=8,
        color="#555555",
    )
    figure.tight_layout()
    return figure


def _word(module: dict[str, Any]) -> str:
    sized = {"spectral": "E", "lora": "L", "parallel": "P", "serial": "S"}
    alone = {"norm": "n", "bias": "b", "ia3": "i"}
    kind, size = module["kind"], module["size"]
    return alone[kind] if kind in alone else f"{sized.get(kind, f'{kind} ')}{size}"


def _short(path: str) -> str:
    return ".".join(part for part in path.split(".") if part not in ("self", "layer"))


def perturbation(data: RunData, table: pd.DataFrame) -> Figure:
    """Test quality over perturbation ratio, a panel a kind; bands are 95 % intervals."""
    kinds = kinds_of(next(iter(data.robustness.values())).sets)
    curves = {
        kind: [
            Line(row["name"], row["family"] == "slat", in_percent(data.robustness[row["method"]].curve(kind)))
            for _, row in table.iterrows()
            if row["method"] in data.robustness
        ]
        for kind in kinds
    }
    return panels(curves, "words perturbed (%)", f"test {data.config.metric}")


def search(data: RunData) -> Figure:
    """Every trial's discretised structure over its steps: validation quality and parameters; crosses were stopped."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4))
    status = data.trials.set_index("trial")["status"]
    labels = {"budget": "budget (parameters)", "sparsity": "sparsity weight", "learning_rate": "learning rate"}
    sampled, label = next((name, label) for name, label in labels.items() if name in data.trials)
    pressure = data.trials.set_index("trial")[sampled]
    scale = matplotlib.colors.LogNorm(max(pressure.min(), 1e-6), max(pressure.max(), 1.1e-6))
    colours = matplotlib.cm.ScalarMappable(scale, "viridis")
    for number, part in data.history.groupby("trial"):
        stopped = status[number] == "stopped"
        colour = colours.to_rgba(pressure[number])
        for axis, column in ((axes[0], "quality"), (axes[1], "params")):
            axis.plot(
                part["step"],
                part[column],
                "-",
                color=colour,
                alpha=0.45 if stopped else 0.95,
                linewidth=1 if stopped else 1.8,
            )
            last = part.iloc[-1]
            axis.plot(last["step"], last[column], "x" if stopped else "o", color=colour, markersize=7)
            axis.annotate(
                str(number), (last["step"], last[column]), xytext=(4, 3), textcoords="offset points", fontsize=7
            )
    axes[0].set_ylabel(f"validation {data.config.metric} of the discretised structure")
    axes[1].set_ylabel("parameters of the discretised structure")
    axes[1].set_yscale("symlog", linthresh=100)
    for axis in axes:
        axis.set_xlabel("training step")
        axis.grid(alpha=0.25)
    figure.colorbar(colours, ax=axes, label=label, fraction=0.03, pad=0.02)
    return figure
