"""The stored configuration of a run, as far as its tables and pages need it; earlier versions had fewer fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from ..config.reading import MOST_BYTES, MalformedError, read_yaml
from ..errors import SlatError
from ..files import as_text, read_listed
from ..run_folder import RunFolder
from .base import Record, sentence


class KeptTask(BaseModel):
    """Section on one task, with all its other fields."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    metric: str


class KeptConfig(Record):
    """``config.yaml`` of a run.

    Attributes:
        tasks: one for a run of a single task.
        model: its name.
        steps: of a training.
        tolerance: loss of quality within which the smallest adapter is recommended.
        own_weights: whether searches that keep their own weights are compared.
        weight, sharing: fixed values in the sensitivity studies.
        raw: the whole configuration, for pages.
    """

    name: str
    seed: int
    seeds: int
    tasks: tuple[KeptTask, ...]
    model: str
    steps: int
    tolerance: float
    own_weights: bool
    weight: float
    sharing: float
    raw: Mapping[str, Any]

    @property
    def metric(self) -> str:
        """Return the metric of a single task, or the name of the mean over several."""
        return self.tasks[0].metric if len(self.tasks) == 1 else f"quality, mean of {len(self.tasks)} tasks"

    @classmethod
    def of(cls, run: RunFolder) -> Self:
        """Read the configuration of a run.

        Raises:
            SlatError: missing or damaged.
        """
        path = run / "config.yaml"
        try:
            raw, _ = read_yaml(as_text(read_listed(path, MOST_BYTES), path))
            search, studies = raw.get("search", {}), raw.get("sensitivity", {})
            fields = {
                **{name: raw[name] for name in ("name", "seed", "seeds")},
                "tasks": raw.get("tasks") or [raw["task"]],
                "model": raw.get("model", {}).get("name", ""),
                "steps": raw["training"]["steps"],
                "tolerance": search.get("tolerance", 0.0),
                "own_weights": "inherited" in search.get("final_weights", ()) or "own" in search.get("weights", ()),
                "weight": studies.get("weight", 1.0),
                "sharing": studies.get("sharing", 0.0),
            }
            return cls.model_validate({**fields, "raw": raw})
        except ValidationError as error:
            raise SlatError(f"{path}: {sentence(error)}") from error
        except MalformedError as error:
            raise SlatError(f"{path}: damaged ({error})") from error
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            detail = " ".join(str(error).split())
            raise SlatError(f"{path}: damaged ({type(error).__name__}: {detail})") from error
