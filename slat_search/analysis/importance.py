"""Which of the sampled settings mattered: functional analysis of variance, with a yardstick for chance."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import create_trial

CHANCE = "chance"
#: trials from which on it is said what mattered: of fewer a forest makes a pattern of anything
FEWEST = 10
_DRAWS = 40
_SHARE = 0.8  # of the trials that a draw takes


def of_screening(trials: pd.DataFrame, space: Mapping[str, BaseDistribution], seed: int = 0) -> pd.DataFrame:
    """Return what mattered for quality, size and quality under perturbation in a table of trials; empty where too
    few trials completed to tell."""
    completed = trials[trials["status"] == "completed"].reset_index(drop=True)
    if len(completed) < FEWEST:
        return pd.DataFrame(columns=["measure", "factor", "importance", "low", "high", "matters"])
    measures = {
        "quality": completed["quality"],
        "size (log)": np.log10(completed["params"].clip(lower=1)),
        "quality, perturbed": completed["quality_perturbed"],
    }
    return importances(completed, space, measures, seed)


def importances(
    trials: pd.DataFrame, space: Mapping[str, BaseDistribution], measures: Mapping[str, pd.Series], seed: int = 0
) -> pd.DataFrame:
    """Share of each measure's variance over the trials that each factor accounts for, alone or with others.

    Optuna's fANOVA (Hutter et al. 2014), on 40 draws of four fifths of the trials. In each draw a further factor, a
    random number that cannot matter, takes part: what it gets is what a forest makes of nothing on so few trials. A
    factor ``matters`` when its mean share is above all of those.

    Args:
        trials: a row a trial with a column a factor; all of them trained for as long.
        space: factor -> what it was sampled from; factors with one value are left out.
        measures: name -> value of each trial.

    Returns:
        ``measure factor importance low high matters``, low and high over draws (5 and 95 %); the last factor of each
        measure is ``chance``, whose high is the most that the random number got.
    """
    varied = {name: found for name, found in space.items() if not found.single()}
    rows = []
    for measure, values in measures.items():
        shares = pd.DataFrame(_shares(trials, varied, values, [seed, draw]) for draw in range(_DRAWS))
        chance = shares[CHANCE].max()
        for factor in (*varied, CHANCE):
            low, high = shares[factor].quantile([0.05, 0.95])
            mean = shares[factor].mean()
            rows.append(
                {
                    "measure": measure,
                    "factor": factor,
                    "importance": mean,
                    "low": low,
                    "high": chance if factor == CHANCE else high,
                    "matters": factor != CHANCE and bool(mean > chance),
                }
            )
    return pd.DataFrame(rows)


def _shares(
    trials: pd.DataFrame, space: Mapping[str, BaseDistribution], values: pd.Series, seed: list[int]
) -> dict[str, float]:
    """Shares of one draw, by factor; all 0 where the measure is the same everywhere."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(trials))[: max(2, round(_SHARE * len(trials)))]
    distributions = {**space, CHANCE: FloatDistribution(0.0, 1.0)}
    if values.iloc[rows].nunique() < 2:
        return dict.fromkeys(distributions, 0.0)
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study()
        study.add_trials(
            [
                create_trial(
                    params={**{name: trials[name].iloc[row] for name in space}, CHANCE: float(rng.random())},
                    distributions=distributions,
                    value=float(values.iloc[row]),
                )
                for row in rows
            ]
        )
        forest = FanovaImportanceEvaluator(seed=int(rng.integers(2**31)))
        return {name: float(share) for name, share in get_param_importances(study, evaluator=forest).items()}
    finally:
        optuna.logging.set_verbosity(verbosity)
