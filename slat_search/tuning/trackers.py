"""Ray's own integrations with experiment trackers."""

from __future__ import annotations

from collections.abc import Callable

from ray.tune import Callback
from ray.tune.logger import JsonLoggerCallback, TBXLoggerCallback

from ..config import Config
from ..errors import SlatError


def _mlflow(config: Config) -> Callback:
    import mlflow  # noqa: F401 - Ray's callback only fails when it is set up
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    return MLflowLoggerCallback(experiment_name=config.name)


def _wandb(config: Config) -> Callback:
    import wandb  # noqa: F401
    from ray.air.integrations.wandb import WandbLoggerCallback

    return WandbLoggerCallback(project=config.name)


#: name in the configuration -> callback; where they report to is told by their own environment variables
TRACKERS: dict[str, Callable[[Config], Callback]] = {
    "tensorboard": lambda config: TBXLoggerCallback(),
    "mlflow": _mlflow,
    "wandb": _wandb,
}


def trackers(config: Config) -> list[Callback]:
    """Callbacks that write each report down: JSON lines always, and what the configuration asks for.

    Raises:
        SlatError: a tracker is not installed.
    """
    found: list[Callback] = [JsonLoggerCallback()]
    for name in config.search.trackers:
        try:
            found.append(TRACKERS[name](config))
        except ImportError as error:
            raise SlatError(f"search.trackers: {name} is not installed here ({error}); pip install {name}") from error
    return found
