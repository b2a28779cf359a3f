"""Which projections of a backbone a method is put on."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import SlatError
from ..structure import Site

_EVERY = "all"  # in ``roles``


def projections(sites: Sequence[Site], roles: Sequence[str]) -> list[Site]:
    """Projections with one of ``roles``; ``all`` means every one.

    Raises:
        SlatError: there is none.
    """
    chosen = [s for s in sites if not s.is_norm and (_EVERY in roles or s.role in roles)]
    if not chosen:
        raise SlatError(f"baselines.roles: no projection of this model has a role in {', '.join(roles)}")
    return chosen
