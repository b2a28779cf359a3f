"""Ray's own integrations with experiment trackers."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from ray.tune import Callback
from ray.tune.logger import JsonLoggerCallback, TBXLoggerCallback

from ..config import Config
from ..errors import SlatError


def _mlflow(config: Config) -> Callback:
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    return MLflowLoggerCallback(experiment_name=config.name)


def _wandb(config: Config) -> Callback:
    from ray.air.integrations.wandb import WandbLoggerCallback

    return WandbLoggerCallback(project=config.name)


#: name in the configuration -> package, callback; their own environment variables say where they report to
TRACKERS: dict[str, tuple[str, Callable[[Config], Callback]]] = {
    "tensorboard": ("tensorboardX", lambda config: TBXLoggerCallback()),
    "mlflow": ("mlflow", _mlflow),
    "wandb": ("wandb", _wandb),
}


def trackers(config: Config) -> list[Callback]:
    """Return callbacks that record each report: JSON lines always, and those of the configuration.

    Raises:
        SlatError: a tracker is not installed.
    """
    callbacks: list[Callback] = [JsonLoggerCallback()]
    for name in config.search.trackers:
        package, callback = TRACKERS[name]
        if find_spec(package) is None:  # Ray's own callbacks fail when the search has begun
            raise SlatError(f"search.trackers: {name} needs a package that is not installed: pip install {package}")
        callbacks.append(callback(config))
    return callbacks
