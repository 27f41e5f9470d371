import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from clusterlab import commands, help
from clusterlab.__main__ import main
from clusterlab.choices import INTERNAL, config_folder

CONF = Path(__file__).parents[2] / "conf"
SETTINGS = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))
GROUPS = sorted({path.parent.name for path in CONF.glob("*/*.yaml")} - set(INTERNAL))


@pytest.fixture
def said(monkeypatch, capfd):
    """What the command prints; it ends with the exit code 0."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["clusterlab", *words])
        main()
        return capfd.readouterr().out

    return run


def listed(page):
    """Group → the names behind it, from the page."""
    joined = re.sub(r",\n +", ", ", page)
    return {group: set(names.split(", ")) for group, names in re.findall(r"^  ([\w.]+) {2,}(\S.*)$", joined, re.M)}


@pytest.mark.parametrize("group", GROUPS)
def test_the_page_lists_every_choice_of_a_group(said, group):
    assert listed(said("--help"))[group] == {path.stem for path in (CONF / group).glob("*.yaml")}


def test_the_page_leaves_out_what_nobody_chooses(said):
    page = said("--help")
    assert "recipe" not in page
    assert not listed(page).keys() & set(INTERNAL)


@pytest.mark.parametrize("word", help.WORDS)
def test_a_setting_on_the_page_exists_or_is_a_group(said, word):
    name = word.split("=")[0]
    assert word in said("--help")
    first, _, rest = name.partition(".")
    assert first in SETTINGS or first in GROUPS
    assert not rest or rest in (SETTINGS.get(first) or {"root"})


@pytest.mark.parametrize("name", commands.MODULES)
def test_the_page_says_what_a_command_does(said, name):
    assert re.search(rf"^  {name} +\w.{{10}}", said("--help"), re.M)


@pytest.mark.parametrize("words", help.EXAMPLES)
def test_the_choices_in_an_example_exist(words):
    for group, names in re.findall(r"(\S+)=(\S+)", words):
        if group in GROUPS:
            assert all((CONF / group / f"{name}.yaml").is_file() for name in names.split(","))


def test_no_line_of_the_page_is_wider_than_a_terminal_of_a_hundred_columns(said):
    lines = [line for line in said("--help").splitlines() if not line.startswith("Documentation")]
    assert max(map(len, lines)) <= help.WIDTH


@pytest.mark.parametrize(
    "words", [["-h"], ["help"], ["help", "--help"], ["seed=3", "-h"], ["-m", "--help", "seed=1,2"]]
)
def test_other_ways_to_ask_give_the_same_page(said, words):
    assert said(*words) == said("--help")


@pytest.mark.parametrize("words", [["--help", "head=scan"], ["head=scan", "-h"], ["help", "head@adapted=scan"]])
def test_help_on_a_choice_shows_its_settings_with_their_comments(said, words):
    shown = said(*words)
    assert shown.startswith(f"head=scan is {config_folder() / 'head/scan.yaml'}:")
    assert (CONF / "head/scan.yaml").read_text(encoding="utf-8") in shown


def test_help_on_several_choices_shows_each(said):
    shown = said("--help", "head=scan,spice")
    assert "head=scan is " in shown
    assert "head=spice is " in shown


def test_help_on_a_group_says_what_each_choice_is(said):
    rows = said("help", "student").splitlines()
    assert next(row for row in rows if "student=selflabel" in row).endswith(
        "SCAN's self-labelling step on small images (section 4 of the paper)"
    )


def test_a_folder_of_configs_that_is_given_adds_its_choices(said, tmp_path):
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "mine.yaml").write_text("name: mine\n")
    assert "mine" in listed(said("--help", "--config-dir", str(tmp_path)))["student"]
    assert "name: mine" in said("--config-dir", str(tmp_path), "--help", "student=mine")


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["help", "studnt"], "studnt is no group of choices (did you mean student?); groups: backbone, "),
        (["--help", "method=scna"], "method=scna is not known (did you mean scan?); choices: asd, "),
    ],
)
def test_help_on_what_does_not_exist_is_one_line(said, capfd, words, answer):
    with pytest.raises(SystemExit, match="2"):
        said(*words)
    error = capfd.readouterr().err
    assert error.startswith(f"clusterlab: {answer}")
    assert error.count("\n") == 1


def test_the_version_is_that_of_clusterlab(said):
    from clusterlab import __version__

    assert said("--version") == f"clusterlab {__version__}\n"


def test_help_of_hydra_stays_hydras():
    words = [sys.executable, "-m", "clusterlab", "--hydra-help"]  # a process of its own: Hydra's logging stays set up
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("Hydra (")


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_an_answer_imports_nothing_heavy(word):
    heavy = "{'torch', 'wandb', 'hydra', 'pydantic', 'numpy', 'yaml'} & sys.modules.keys()"
    code = f"import sys; from clusterlab.__main__ import main; main(); print('heavy:', {heavy})"
    done = subprocess.run([sys.executable, "-c", code, word], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.endswith("heavy: set()\n")
