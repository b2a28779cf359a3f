"""The projections of a backbone that a method is applied to."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import SlatError
from ..structure import Site

_ALL_ROLES = "all"  # in ``roles``


def projections(sites: Sequence[Site], roles: Sequence[str]) -> list[Site]:
    """Return the projections with one of ``roles``; ``all`` means every one.

    Raises:
        SlatError: there is none.
    """
    targets = [s for s in sites if not s.is_norm and (_ALL_ROLES in roles or s.role in roles)]
    if not targets:
        raise SlatError(f"baselines.roles: no projection of this model has a role in {', '.join(roles)}")
    return targets
