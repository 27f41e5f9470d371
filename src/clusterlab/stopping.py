"""Ctrl-C and SIGTERM: the command ends with `Stopped`, at once or, while it trains, as soon as a checkpoint is written.

`Stopped` is no KeyboardInterrupt, because Lightning ends the process for that one before anything can be saved.
"""

import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
AGAIN_SECONDS = 0.02
SAVING = b"\nclusterlab: saving after this step; Ctrl-C again ends it without\n"


class Stopped(BaseException):
    """Somebody wants the command to end; `code` is what it ends with."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


class _Wish:
    """What was asked for so far."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.waits = False
        self.again: threading.Timer | None = None


_wish = _Wish()


@contextmanager
def obeyed() -> Iterator[None]:
    """Turn both signals into `Stopped` for a while; elsewhere than in the main thread nothing changes.

    A process that was started deaf to Ctrl-C stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _wish.signal, _wish.waits, _wish.again = None, False, None
    former = {number: signal.getsignal(number) for number in SIGNALS}
    former_hook = sys.unraisablehook
    sys.unraisablehook = partial(_swallowed, former_hook)
    for number in SIGNALS:
        if former[number] is not signal.SIG_IGN:
            signal.signal(number, _heard)
    try:
        yield
    finally:
        if _wish.again is not None:
            _wish.again.cancel()
            _wish.again.join()
        sys.unraisablehook = former_hook
        for number, handler in former.items():
            signal.signal(number, handler)


def _swallowed(former_hook: Callable[[Any], object], about: Any) -> None:
    """Repeat a signal that came where nothing can be raised, such as in a callback of the garbage collector."""
    if not isinstance(about.exc_value, Stopped):
        former_hook(about)
        return
    main, number = threading.main_thread().ident, about.exc_value.code - 128
    assert main is not None
    _wish.again = threading.Timer(AGAIN_SECONDS, signal.pthread_kill, (main, number))
    _wish.again.start()


def hear_again() -> None:
    """Have the signals obeyed as `obeyed` has it, after somebody has put handlers of their own in its place."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _heard)


def _heard(number: int, _: FrameType | None) -> None:
    again = _wish.signal is not None and (number == signal.SIGINT or number != _wish.signal)
    _wish.signal = number if _wish.signal is None else _wish.signal
    if again or not _wish.waits:
        raise Stopped(_wish.signal)
    os.write(2, SAVING)  # not by the logger, in whose middle the signal may have come


@contextmanager
def when_saved() -> Iterator[None]:
    """Have the first signal wait until somebody sees to it by `wanted`.

    A Ctrl-C after it, or another signal, ends the command at once.
    """
    see_to_it()
    _wish.waits = True
    try:
        yield
    finally:
        _wish.waits = False


def wanted(agreed: Callable[[int], int] = int) -> bool:
    """Whether the command is to end.

    `agreed` gives the largest of a number over the processes that train together. They have to ask at the same moment,
    and all of them are to end if one has been told so.
    """
    _wish.signal = agreed(_wish.signal or 0) or None
    return _wish.signal is not None


def see_to_it() -> None:
    """End the command if that is wanted: now is a good moment.

    Raises:
        Stopped: it is.
    """
    if _wish.signal is not None:
        raise Stopped(_wish.signal)


@contextmanager
def not_swallowed() -> Iterator[None]:
    """Have an error that came of `Stopped` in the middle of a library's work count as `Stopped`."""
    try:
        yield
    except Exception:
        see_to_it()
        raise


def how_to_go_on(*, kept: bool = True) -> str:
    """Return the line that a person reads at the end of a command that was stopped; `kept`: what it has done so far."""
    again = "goes on where it stopped" if kept else "does it from the beginning"
    return f"stopped; the same command {again}: {shlex.join(sys.orig_argv)}"
