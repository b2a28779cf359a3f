"""Log one line for each event of a trial."""

from __future__ import annotations

import logging
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

_log = logging.getLogger(__name__)


class TrialReporter(Callback):
    """Logs each report, stop and failure of a trial, numbered from 0 in order of creation.

    Args:
        total: number of trials of the search.
        steps: steps of a full trial.
    """

    def __init__(self, total: int, steps: int):
        self._total = total
        self._steps = steps

    def _name(self, trial: Trial) -> str:
        return f"trial {trial.config['number']:>2} of {self._total}"

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        config, kind = trial.config, trial.config["noise_kind"]
        noise = "no noise" if kind == "none" else f"{kind} noise {config['noise_ratio']:.0%}"
        gates = f", gates {config['gate_learning_rate']:.2g}" if "gate_learning_rate" in config else ""
        rate = f"learning rate {config['learning_rate']:.2g}"
        _log.info(f"{self._name(trial)}  starts: {_candidates(config)}, {rate}{gates}, {noise}")

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        if "diverged" in result:
            _log.info(f"{self._name(trial)}  diverged: {result['diverged']}")
            return
        worst = f" (worst task {result['quality_worst']:.3f})" if "quality_worst" in result else ""
        note = f"  (batches in {result['parts']} parts, for GPU memory)" if result["parts"] > 1 else ""
        _log.info(
            f"{self._name(trial)}  step {result['step']:>4}/{self._steps}  validation {result['quality']:.3f}{worst}"
            f"  retained {result['retained']:.1%}  {result['params']:>9,} parameters  {result['seconds']:.0f} s{note}"
        )

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        if "diverged" in (trial.last_result or {}):
            return
        stopped = (trial.last_result or {}).get("step", 0) < self._steps
        _log.info(f"{self._name(trial)}  {'stopped by ASHA' if stopped else 'finished'}")

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        _log.warning(f"{self._name(trial)}  lost its worker, and is tried again")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        _log.warning(f"{self._name(trial)}  failed: {trial.error_file}")


def _candidates(sampled: dict[str, Any]) -> str:
    """Describe the candidates and the pressure on them, or in a static search the structure."""
    if "kinds" in sampled:
        pressure = f"budget {sampled['budget']:,.0f}" if "budget" in sampled else f"sparsity {sampled['sparsity']:.3g}"
        sharing = f", sharing {sampled['sharing']:.2f}" if "sharing" in sampled else ""
        return f"{sampled['kinds']}, {pressure}{sharing}"
    bits = "".join(str(bit) for name, bit in sampled.items() if name.startswith("layer_"))
    sizes = [
        f"{name.removesuffix('_size')} {size}" for name, size in sampled.items() if name.endswith("_size") and size
    ]
    return f"blocks {bits}, {', '.join(sizes) or 'nothing'}"
