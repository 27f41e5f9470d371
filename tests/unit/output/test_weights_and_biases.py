"""W&B is really run, offline and in a process of its own, and what it wrote is read back."""

import json
import logging
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from clusterlab.output.dashboard import About, Dashboard
from clusterlab.output.dashboards import open_dashboard
from clusterlab.output.weights_and_biases import WeightsAndBiases

SCRIPT = """
import logging, sys
from pathlib import Path
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(levelname)s %(name)s %(message)s")
from clusterlab.output.dashboard import About
from clusterlab.output.dashboards import open_dashboard
about = About(run_dir=Path(sys.argv[2]), config={"head": {"lr": 1e-4}}, group="sweep", name="scan-0", project="lab",
              mode=sys.argv[1], timeout=25)
with open_dashboard("wandb", about) as dashboard:
    for epoch in range(3):
        dashboard.record("head", epoch, 7 * epoch, {"loss": 1 / (epoch + 1), "confidence": 0.5})
    dashboard.record("student", 0, 4, {"loss": 2.0})
print("wandb imported:", "wandb" in sys.modules)
"""


def run_script(script: str, folder: Path, mode: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Without any key that the machine may have, and without a terminal to ask on."""
    folder.mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    clean |= {
        "NETRC": str(folder / "no-netrc"),
        "WANDB_CONFIG_DIR": str(folder / "config"),
        "HOME": str(folder),
    }
    return subprocess.run(
        [sys.executable, "-c", script, mode, str(folder)],
        env=clean | environment, stdin=subprocess.DEVNULL, timeout=120, check=True,
        capture_output=True, text=True,
    )  # fmt: skip


def records(folder: Path) -> list[dict[str, Any]]:
    (log,) = folder.glob("wandb/offline-run-*/*.wandb")
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(log)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_without_a_key_the_whole_run_is_recorded_offline(tmp_path: Path):
    done = run_script(SCRIPT, tmp_path / "run", "auto")
    info = [line for line in done.stdout.splitlines() if line.startswith(("INFO", "WARNING"))]
    assert len(info) == 1
    assert "wandb sync " in info[0]
    assert done.stderr == ""
    by_type: dict[str, list[Any]] = {}
    for record in records(tmp_path / "run"):
        by_type.setdefault(record["type"], []).append(record[record["type"]])
    (about,) = by_type["run"]
    assert (about["project"], about["run_group"], about["display_name"]) == ("lab", "sweep", "scan-0")
    assert about["config"]["update"]["head"] == {"lr": 1e-4}
    rows = [row["item"] for row in by_type["history"]]
    assert [row["head/loss"] for row in rows if "head/loss" in row] == pytest.approx([1, 1 / 2, 1 / 3])
    assert [row["head/epoch"] for row in rows if "head/epoch" in row] == [0, 1, 2]
    assert [row["student/loss"] for row in rows if "student/loss" in row] == [2.0]
    axes = {m["glob_name"]: m["step_metric"] for m in by_type["metric"] if m.get("glob_name")}
    assert axes == {"head/*": "head/epoch", "student/*": "student/epoch"}
    assert by_type["exit"][0].get("exit_code", 0) == 0


def test_online_without_a_key_goes_offline_with_a_warning(tmp_path: Path):
    done = run_script(SCRIPT, tmp_path / "run", "online")
    assert "WARNING clusterlab.output.weights_and_biases wandb.mode=online, but no API key" in done.stdout
    assert len(records(tmp_path / "run")) > 5


@pytest.mark.parametrize(("mode", "variable"), [("disabled", "online"), ("auto", "disabled")])
def test_disabled_does_not_even_import_wandb(tmp_path: Path, mode: str, variable: str):
    done = run_script(SCRIPT, tmp_path / "run", mode, WANDB_MODE=variable)
    assert done.stdout == "wandb imported: False\n"
    assert not (tmp_path / "run" / "wandb").exists()


def test_a_damaged_setup_is_one_warning(tmp_path: Path):
    done = run_script(SCRIPT, tmp_path / "run", "auto", WANDB_API_KEY="too short")
    assert done.stdout.count("WARNING") == 1
    assert "W&B failed" in done.stdout
    assert "Traceback" not in done.stderr


def opened(tmp_path: Path, mode: str = "auto") -> Dashboard:
    about = About(run_dir=tmp_path, config={}, group="g", name="n", project="p", mode=mode, timeout=1)
    return open_dashboard("wandb", about)


@pytest.mark.parametrize(("mode", "level"), [("auto", logging.INFO), ("online", logging.WARNING)])
def test_a_missing_wandb_is_one_line(tmp_path, monkeypatch, caplog, mode: str, level: int):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with caplog.at_level(logging.INFO), opened(tmp_path, mode) as dashboard:
        dashboard.record("head", 0, 0, {"loss": 1.0})
    assert [(record.levelno, "cannot be imported" in record.message) for record in caplog.records] == [(level, True)]


def test_a_failure_at_the_start_is_one_warning(tmp_path, monkeypatch, caplog):
    def fail(*_: Any, **__: Any) -> None:
        raise TimeoutError("no answer")

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(Settings=dict, setup=fail))
    with caplog.at_level(logging.INFO), opened(tmp_path, "online") as dashboard:
        dashboard.record("head", 0, 0, {"loss": 1.0})
    assert len(caplog.records) == 1


class Run:
    """What was asked of a W&B run."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def define_metric(self, *_: Any, **__: Any) -> None:
        self.calls.append("define_metric")

    def log(self, _: Any) -> None:
        self.calls.append("log")

    def finish(self, exit_code: int) -> None:
        self.calls.append(f"finish {exit_code}")


def test_a_run_that_fails_is_marked_failed():
    run = Run()
    with WeightsAndBiases(run) as dashboard:
        dashboard.record("head", 0, 0, {"loss": 1.0})
        dashboard.close(failed=True)
    assert run.calls == ["define_metric", "define_metric", "log", "finish 1"]


SERVER = """
import json, os, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
answering = threading.Event()
answering.set()
status = [200]
class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass
    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        if not answering.is_set():
            time.sleep(1000)
        if status[0] != 200:
            self.send_response(status[0])
            self.end_headers()
            return
        project = {"id": "UHJvamVjdDox", "name": "lab", "entity": {"id": "RW50OjE=", "name": "me"}}
        bucket = {"id": "UnVuOjE=", "name": "r", "displayName": "n", "config": "{}", "project": project}
        viewer = {"id": "x", "entity": "me", "flags": "{}"}
        data = {"upsertBucket": {"bucket": bucket, "inserted": True}, "viewer": viewer}
        body = json.dumps({"data": data}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ |= {"WANDB_BASE_URL": f"http://127.0.0.1:{server.server_port}", "WANDB_API_KEY": "a" * 40}
"""


STOP, ERRORS = "answering.clear()", "status[0] = {}"
SERVERS = {
    "never answers": (STOP, ""),
    "stops answering": ("", STOP),
    "answers with errors": (ERRORS.format(500), ""),
    "refuses the key": (ERRORS.format(401), ""),
    "begins to answer with errors": ("", ERRORS.format(500)),
}
"""What the server does from the start, and what once the run has begun."""


@pytest.mark.slow
@pytest.mark.parametrize("server", SERVERS)
def test_a_server_out_of_order_delays_a_run_by_less_than_half_a_minute_and_never_fails_it(tmp_path: Path, server: str):
    first, later = SERVERS[server]
    loop = "for epoch in range(3):\n"
    script = SCRIPT.replace(f"    {loop}", f"    {later or 'pass'}\n    {loop}")
    timed = f"{SERVER}{first}\nimport time\nbegan = time.monotonic()\n{script}print('took', time.monotonic() - began)\n"
    done = run_script(timed, tmp_path / "run", "auto")
    assert done.stdout.count("WARNING") == 1
    assert ("dashboard: http" in done.stdout) == (not first)
    assert "wandb imported: True" in done.stdout
    assert float(done.stdout.split("took")[1]) < 30
