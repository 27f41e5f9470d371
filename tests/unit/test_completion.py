import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clusterlab.__main__ import main

STUDENTS = sorted(path.stem for path in (Path(__file__).parents[2] / "conf" / "student").glob("*.yaml"))


@pytest.fixture
def asked(monkeypatch, capfd):
    """What the console script answers a shell that asks how a line may go on."""

    def run(line, shell="bash"):
        monkeypatch.setenv("COMP_LINE", line)
        monkeypatch.setattr(sys, "argv", ["clusterlab", "-sc", f"query={shell}"])
        main()
        return capfd.readouterr().out.split()

    return run


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_group_goes_on_with_its_choices(asked, shell):
    assert asked("clusterlab student=", shell) == [f"student={name}" for name in STUDENTS]


def test_a_setting_goes_on_with_those_of_the_choice_that_stands_before_it(asked):
    assert "head.entropy_weight=" in asked("clusterlab method=scan head.e")
    assert "head.entropy_weight=" not in asked("clusterlab method=spice head.e")


def test_a_setting_of_the_run_is_completed(asked):
    assert asked("/usr/bin/clusterlab num_c") == ["num_clusters="]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_the_function_for_bash_completes_the_console_script(tmp_path):
    script = tmp_path / "clusterlab"
    script.write_text(f"#!{sys.executable}\nfrom clusterlab.__main__ import main\nmain()\n")
    script.chmod(0o755)
    shell = """
        eval "$(clusterlab -sc install=bash)"
        complete -p clusterlab
        COMP_LINE="clusterlab student=f" COMP_WORDS=(clusterlab student=f) COMP_CWORD=1
        COMP_POINT=${#COMP_LINE}
        hydra_bash_completion
        echo "${COMPREPLY[*]}"
    """
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "-c", shell], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    installed, answer = done.stdout.splitlines()
    assert installed.endswith("-F hydra_bash_completion clusterlab")
    assert answer == " ".join(f"student={name}" for name in STUDENTS if name.startswith("f"))
