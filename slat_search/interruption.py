"""End a run from outside, as Ctrl-C does: on a signal of the system, or because another thread saw that it must end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

#: sent by SLURM, Kubernetes or before a machine is taken; by a terminal or connection that is gone
_ENDING = (signal.SIGTERM, signal.SIGHUP)
_IN_TIME = 20.0  # seconds to end in: Kubernetes and SLURM kill a process 30 s after the signal
_WAKE = signal.SIGURG  # interrupts the main thread; ignored without a handler


class Interrupted(KeyboardInterrupt):
    """A signal asked the run to end.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def ended_by_signals(give_up: Callable[[Interrupted], object] | None = None) -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does, by :class:`Interrupted`; further ones change nothing.

    A signal that is ignored (``nohup``) or that somebody else handles stays as it is. Only the main thread can be
    interrupted; in others this does nothing.

    Args:
        give_up: called in another thread where the block has not ended 20 s after the signal, to end the process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupts: list[Interrupted] = []
    timer: list[threading.Timer] = []

    def end(number: int, frame: FrameType | None) -> None:
        if interrupts:
            return
        interrupts.append(Interrupted(number))
        if give_up is not None:
            timer.append(threading.Timer(_IN_TIME, give_up, interrupts))
            timer[0].daemon = True
            timer[0].start()
        raise interrupts[0]

    mine = [number for number in _ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in mine:
        signal.signal(number, end)
    try:
        yield
    except KeyboardInterrupt as error:  # Ray makes a plain one of any
        if interrupts and error is not interrupts[0]:
            raise interrupts[0] from error
        raise
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)
        for started in timer:
            started.cancel()


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Put back the handlers of these signals after the block; Ray sets its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interrupted_by(error: Callable[[], Exception]) -> Iterator[Callable[[], None]]:
    """Yield a function by which another thread raises ``error()`` in the block, whatever it waits for.

    Outside of the main thread the block cannot be interrupted, and the call does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return

    called = threading.Event()

    def wake(number: int, frame: FrameType | None) -> None:
        if called.is_set():
            raise KeyboardInterrupt  # of all exceptions, Ray passes this one on alone

    def interrupt() -> None:
        called.set()
        os.kill(os.getpid(), _WAKE)

    before = signal.signal(_WAKE, wake)
    try:
        yield interrupt
    except KeyboardInterrupt as interrupted:
        if called.is_set():
            raise error() from interrupted
        raise
    finally:
        signal.signal(_WAKE, before)
