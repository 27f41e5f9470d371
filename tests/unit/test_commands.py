import re
import subprocess
import sys

import pytest

from clusterlab import commands
from clusterlab.__main__ import main
from clusterlab.stopping import Stopped


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    """The command in this process; answers with exit code and output."""

    def run(*words):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["clusterlab", *words])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, "".join(capfd.readouterr())

    return run


WORDS = {"predict": "RUN_DIR", "export": "RUN_DIR", "doctor": "--json"}


def test_every_command_but_help_is_tried_here():
    assert commands.MODULES.keys() - {"help"} == WORDS.keys()


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("order", [1, -1])
def test_a_command_explains_itself(command, name, order):
    code, output = command(*[name, "--help" if order == 1 else "help"][::order])
    assert code == 0
    assert output.startswith(f"usage: python -m clusterlab {name}")
    assert WORDS[name] in output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["predict"], "the following arguments are required: RUN_DIR, IMAGES"),
        (["predict", "a", "b", "--batch-size", "0"], "0 is not a whole number above 0"),
        (["predict", "a", "b", "--copy-to", "c", "--link-to", "d"], "not allowed with"),
        (["predict", "run", "photos"], "run holds no model"),
        (["export", "run"], "required: --output"),
        (["export", "run", "--output", "out"], "run holds no model"),
        (["export", "run", "--output", "out", "--format", "tflite"], "invalid choice: 'tflite'"),
        (["doctor", "--jsn"], "unrecognized arguments: --jsn"),
    ],
)
def test_a_mistake_in_its_words_is_one_line_and_exit_code_two(command, words, said):
    code, output = command(*words)
    assert (code, len(output.splitlines())) == (2, 1), output
    assert output.startswith("clusterlab: ")
    assert said in output


def test_a_folder_of_the_name_of_a_command_does_not_matter(command, tmp_path):
    (tmp_path / "predict").mkdir()
    assert "required: RUN_DIR" in command("predict")[1]
    assert "data.root=predict" not in command("predict", "predict", "predict")[1]


def test_the_word_is_a_command_only_where_it_comes_first(command):
    code, output = command("seed=0", "predict")
    assert code == 2
    assert "RUN_DIR" not in output


def test_stopping_it_is_one_line(command, monkeypatch):
    def stopped(words):
        raise Stopped

    from clusterlab.predict import command as module

    monkeypatch.setattr(module, "main", stopped)
    code, output = command("predict")
    assert code == 130
    assert re.fullmatch("clusterlab: stopped; the same command does it from the beginning: .+\n", output)


@pytest.mark.parametrize("name", WORDS)
def test_a_command_explains_itself_without_importing_torch(name):
    code = (
        "import sys\nfrom clusterlab.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit:\n    print('heavy:', 'torch' in sys.modules)"
    )
    words = [sys.executable, "-c", code, name, "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "heavy: False"
