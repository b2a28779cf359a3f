"""Report at once, in one sentence, that Ray has ended; Ray itself would end the driver silently."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from ..errors import SlatError
from ..interruption import interrupted_by

_EVERY = 1.0  # seconds between two looks
_GRACE = 1.5  # seconds that a part may be away: it is looked at twice
_GRACE_OF_HEAD = 20.0  # of a cluster's GCS, which may come back; Ray ends the driver after 60 s


class RayLostError(SlatError):
    """Ray ended while it was needed."""


class Lifeline:
    """The parts of Ray that a driver cannot do without: the GCS of the cluster, and the raylet of this machine.

    Args:
        is_own: this process has started Ray, on this machine alone.
    """

    def __init__(self, is_own: bool):
        context = ray.get_runtime_context()
        me = next(node for node in ray.nodes() if node["NodeID"] == context.get_node_id())
        host, _, port = context.gcs_address.rpartition(":")
        #: name -> host, port, seconds that it may be away
        self._parts = {
            "raylet": (me["NodeManagerAddress"], me["NodeManagerPort"], _GRACE),
            "GCS": (host.strip("[]"), int(port), _GRACE if is_own else _GRACE_OF_HEAD),
        }
        self._away: dict[str, float] = {}

    def lost(self) -> str | None:
        """Return the name of a part that has been away for too long."""
        now = time.monotonic()
        for name, (host, port, grace) in self._parts.items():
            if _answers(host, port):
                self._away.pop(name, None)
            elif now - self._away.setdefault(name, now) >= grace:
                return name
        return None

    def is_cut(self) -> bool:
        """Whether a part does not answer now; looks as often as it takes to be sure."""
        while not (lost := self.lost()) and self._away:
            time.sleep(_EVERY / 4)
        return lost is not None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Raise in the block when a part is gone.

        Raises:
            RayLostError: in place of whatever Ray raised meanwhile.
        """
        over = threading.Event()
        try:
            with interrupted_by(self._error) as interrupt:

                def watch() -> None:
                    while not over.wait(_EVERY):
                        if self.lost():
                            return interrupt()

                watcher = threading.Thread(target=watch, daemon=True, name="lifeline")
                watcher.start()
                try:
                    yield
                finally:
                    over.set()
                    watcher.join()
        except RayLostError:
            raise
        except Exception as error:
            if self.is_cut():
                raise self._error() from error
            raise

    def _error(self) -> RayLostError:
        part = " and ".join(self._away) or "raylet"
        return RayLostError(
            f"Ray has ended: its {part} does not answer any more (killed, or out of memory?); everything finished is "
            "kept: continue with --resume"
        )


def _answers(host: str, port: int) -> bool:
    """Whether a process listens; a busy one does, even if it cannot answer."""
    try:
        with socket.create_connection((host, port), timeout=5):
            return True
    except TimeoutError:
        return True  # the network is slow, or nobody is there: Ray has limits of its own for both
    except OSError:
        return False
