"""Shapes in the types are checked while tests run; one thread, because several test processes share a small machine.

`--tried FILE` writes what the tests in `reliability/` tried and what came of it, for docs/reliability.md.
"""

import json
import os
import signal
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

os.environ.setdefault("WANDB_MODE", "disabled")
# A shell without job control starts what it puts into the background deaf to Ctrl-C, and all that comes of it.
signal.signal(signal.SIGINT, signal.default_int_handler)
# An int is a float here, as it is for type checkers (PEP 484).
install_import_hook("clusterlab", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

import torch  # noqa: E402

from command_line import Command  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture
def command(tmp_path):
    return Command(tmp_path)


def pytest_addoption(parser):
    parser.addoption("--tried", type=Path, help="file for what the reliability tests tried")
    parser.addoption("--kills", type=int, default=3, help="how often the reliability tests kill each method")
    parser.addoption("--kill-seed", type=int, default=0, help="decides the moments at which they do")


class Tried:
    """Collects in the process that hears of every test, also under pytest-xdist."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, dict[str, object]] = {}

    def pytest_runtest_logreport(self, report):
        told = dict(report.user_properties)
        if report.when != "call" or "what" not in told:
            return
        name = report.nodeid.split("[")[0]
        row = self.rows.setdefault(name, {"group": told["group"], "what": told["what"], "passed": 0, "failed": 0})
        row["passed" if report.passed else "failed"] += told.get("times", 1)

    def pytest_sessionfinish(self):
        rows = [{"test": name, **row} for name, row in sorted(self.rows.items())]
        self.path.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def pytest_configure(config):
    path = config.getoption("--tried")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Tried(path))
