"""Report at once that Ray has ended, in one sentence; Ray itself would end the driver silently."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from ..errors import SlatError
from ..interruption import interrupted_by

_INTERVAL = 1.0  # seconds between two checks
_GRACE = 1.5  # seconds that a part may be unreachable: it is checked twice
_GRACE_OF_HEAD = 20.0  # for a cluster's GCS, which may come back; Ray ends the driver after 60 s


class RayLostError(SlatError):
    """Ray ended while it was needed."""


class Lifeline:
    """The parts of Ray that a driver depends on: the GCS of the cluster, and the raylet of this machine.

    Args:
        is_own: whether this process has started Ray, on this machine alone.
    """

    def __init__(self, is_own: bool):
        context = ray.get_runtime_context()
        this_node = next(node for node in ray.nodes() if node["NodeID"] == context.get_node_id())
        host, _, port = context.gcs_address.rpartition(":")
        #: name -> host, port, seconds that it may be unreachable
        self._endpoints = {
            "raylet": (this_node["NodeManagerAddress"], this_node["NodeManagerPort"], _GRACE),
            "GCS": (host.strip("[]"), int(port), _GRACE if is_own else _GRACE_OF_HEAD),
        }
        self._missing_since: dict[str, float] = {}

    def lost(self) -> str | None:
        """Return the name of a part that has been unreachable for too long; None if there is none."""
        now = time.monotonic()
        for name, (host, port, grace) in self._endpoints.items():
            if _answers(host, port):
                self._missing_since.pop(name, None)
            elif now - self._missing_since.setdefault(name, now) >= grace:
                return name
        return None

    def is_cut(self) -> bool:
        """Whether a part is lost; a part that does not answer now is checked until that is decided."""
        while not (lost_part := self.lost()) and self._missing_since:
            time.sleep(_INTERVAL / 4)
        return lost_part is not None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Raise in the block when a part is lost.

        Raises:
            RayLostError: instead of any error that Ray raised meanwhile.
        """
        stop = threading.Event()
        try:
            with interrupted_by(self._error) as interrupt:

                def watch() -> None:
                    while not stop.wait(_INTERVAL):
                        if self.lost():
                            return interrupt()

                watcher = threading.Thread(target=watch, daemon=True, name="lifeline")
                watcher.start()
                try:
                    yield
                finally:
                    stop.set()
                    watcher.join()
        except RayLostError:
            raise
        except Exception as error:
            if self.is_cut():
                raise self._error() from error
            raise

    def _error(self) -> RayLostError:
        part = " and ".join(self._missing_since) or "raylet"
        return RayLostError(
            f"Ray has ended: its {part} does not answer any more (killed, or out of memory?); everything finished is "
            "kept: continue with --resume"
        )


def _answers(host: str, port: int) -> bool:
    """Whether a process listens at a port; a busy one does, even if it cannot answer."""
    try:
        with socket.create_connection((host, port), timeout=5):
            return True
    except TimeoutError:
        return True  # the network is slow, or nobody is there: Ray has limits of its own for both
    except OSError:
        return False
