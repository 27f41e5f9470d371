"""The folder of a run while it is at work: one run at a time writes there, and its log."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import Timeout

from clusterlab.durable import refusals_told
from clusterlab.errors import UserError
from clusterlab.locks import held_alone, holder
from clusterlab.output.safe_text import one_line

LOG = "clusterlab.log"
LOCK = ".lock"


@contextmanager
def only_run_in(run_dir: Path) -> Iterator[None]:
    """Make the folder, and keep other runs out of it.

    Raises:
        UserError: another run is at work there, or nothing can be written there.
    """
    with ExitStack() as stack:
        with refusals_told(run_dir, "run_dir"):
            run_dir.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(held_alone(run_dir / LOCK))
            except Timeout as error:
                raise UserError(
                    f"run_dir={run_dir} is in use: {holder(run_dir / LOCK)} is at work there; wait until it is done, "
                    "or choose another run_dir=DIR"
                ) from error
        yield


@contextmanager
def logging_to(run_dir: Path) -> Iterator[None]:
    """Log to the terminal, and with times to `run_dir`/clusterlab.log.

    Raises:
        UserError: nothing can be written there.
    """
    with refusals_told(run_dir, "run_dir"):
        file = _File(run_dir / LOG)
    file.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(_OneLine("%(message)s"))
    root = logging.getLogger("clusterlab")
    level_before = root.level
    root.setLevel(logging.INFO)
    for chatty in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    handlers = (file, terminal)
    for handler in handlers:
        root.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
        root.setLevel(level_before)


@contextmanager
def quiet() -> Iterator[None]:
    """Have this process say only what the first one does not say."""
    for chatty in ("clusterlab", "pytorch_lightning", "lightning_fabric"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    yield


class _OneLine(logging.Formatter):
    """A line for each message, whatever the names of files in it hold; tracebacks keep theirs."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (a hook of logging)
        """Format the message alone."""
        record.message = one_line(record.message)
        return super().formatMessage(record)


class _File(logging.FileHandler):
    """A log that a full disk interrupts, and not the run with it."""

    def __init__(self, path: Path) -> None:
        if path.is_symlink():
            path.unlink()  # what it leads to is not ours
        super().__init__(path, encoding="utf-8")
        self._told = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (a hook of logging)
        """Say once, on the terminal, what is wrong."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._told:
            self._told = True
            name = os.path.relpath(self.baseFilename)
            print(f"{name} cannot be written ({error.strerror}); the run goes on", file=sys.stderr)

    def close(self) -> None:
        """Close the file, with what could be written."""
        with suppress(OSError):
            super().close()
