import json
import os
import subprocess
import sys

import pytest

from clusterlab.doctor import command


def test_the_real_command_answers_a_programme_and_tells_no_key(tmp_path):
    key = "0123456789" * 4
    kept = {name: value for name, value in os.environ.items() if name != "WANDB_MODE"}
    environment = kept | {"WANDB_API_KEY": key, "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "clusterlab", "doctor", "--json", "--stage-dir", str(tmp_path / "stages")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)
    said = json.loads(done.stdout)
    assert done.returncode == int(bool(said["problems"])), said["problems"]
    facts = said["facts"]
    assert facts["torch"]["error"] is facts["faiss"]["error"] is facts["wandb"]["error"] is None
    assert facts["torch"]["accelerator"] in ("cpu", "gpu")
    assert facts["disk"]["stage_dir"] == str(tmp_path / "stages")
    assert facts["wandb"]["has_key"]
    assert key not in done.stdout + done.stderr
    assert done.stderr == ""
    assert not (tmp_path / "stages").exists()
    assert not (tmp_path / ".netrc").exists()


@pytest.fixture
def page(capfd, monkeypatch):
    """The page and the exit code where these are the problems."""

    def run(*lines):
        monkeypatch.setattr("clusterlab.doctor.problems.problems", lambda facts: list(lines))
        try:
            command.main([])
        except SystemExit as end:
            return capfd.readouterr().out, end.code
        return capfd.readouterr().out, 0

    return run


def test_the_page_has_its_sections_and_ends_with_what_is_wrong(page):
    output, code = page("faiss is broken: mend it")
    titles = [line for line in output.splitlines() if line and not line.startswith(" ") and line != "Hints"]
    assert titles == [
        "Versions", "Devices", "Neighbours (faiss)", "Extras", "Dashboard (W&B)", "Threads", "Disk and limits",
        "Other packages", "What is wrong",
    ]  # fmt: skip
    assert output.endswith("What is wrong\n  faiss is broken: mend it\n")
    assert code == 1


def test_where_nothing_is_wrong_the_exit_code_is_zero(page):
    output, code = page()
    assert output.endswith("What is wrong\n  nothing\n")
    assert code == 0
