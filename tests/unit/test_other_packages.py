"""Packages made up for a test: a folder with code and configs, and metadata as pip would leave it."""

import sys

import pytest

from clusterlab import registry
from clusterlab.__main__ import main
from clusterlab.choices import config_folder
from clusterlab.errors import UserError
from clusterlab.other_packages import check_configs, config_folders
from clusterlab.stage import Stage

LEAD = "defaults:\n  - fixmatch\n  - _self_\nname: lead\n"
UNFINISHED = "from clusterlab.semisupervised import SemiSupervisedStage\n\nclass Lead(SemiSupervisedStage):\n    pass\n"


@pytest.fixture
def bring(tmp_path, monkeypatch):
    """Installs a package: its entry points as (group, name, value), its files by their path."""
    made = []

    def install(package, *points, **files):
        site = tmp_path / f"site of {package}"
        about = site / f"{package}-1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text("".join(f"[{g}]\n{name} = {value}\n" for g, name, value in points))
        for name, text in {"__init__.py": "", **files}.items():
            path = site / package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        monkeypatch.syspath_prepend(site)
        made.append(package)
        return site / package

    yield install
    for module in [name for name in sys.modules if name.split(".")[0] in made]:
        del sys.modules[module]


@pytest.fixture
def line(tmp_path, monkeypatch, capfd):
    """The one line that a mistaken command ends in."""

    def run(*words):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["clusterlab", *words, "wandb.mode=disabled"])
        with pytest.raises(SystemExit) as end:
            main()
        output = capfd.readouterr().err
        (found,) = (line for line in output.splitlines() if line.startswith("clusterlab: "))
        assert end.value.code == 2
        assert "Traceback" not in output
        return found.removeprefix("clusterlab: ")

    return run


def composed(monkeypatch, capfd, *words):
    monkeypatch.setattr(sys, "argv", ["clusterlab", *words])
    main()
    return capfd.readouterr().out


def folders():
    """Those of the packages made up here, whatever else is installed."""
    return {package: folder for package, folder in config_folders().items() if package in ("acme", "apex")}


STUDENT = ("clusterlab.students", "lead", "acme.lead:Lead")


def test_the_folder_of_a_package_is_found_without_importing_it(bring):
    home = bring("acme", STUDENT, **{"__init__.py": "raise ImportError", "conf/student/lead.yaml": LEAD})
    assert folders() == {"acme": home / "conf"}
    assert "acme" not in sys.modules


def test_a_package_with_parts_of_several_groups_has_one_folder(bring):
    head = ("clusterlab.heads", "mine", "acme.heads.mine:Mine")
    home = bring("acme", STUDENT, head, **{"conf/student/lead.yaml": LEAD})
    assert folders() == {"acme": home / "conf"}


def test_a_package_of_configs_alone_names_itself(bring):
    home = bring("acme", ("clusterlab.conf", "acme", "acme"), **{"conf/method/mine.yaml": ""})
    assert folders() == {"acme": home / "conf"}


def test_a_namespace_package_has_a_folder(bring):
    home = bring("acme", STUDENT, **{"conf/student/lead.yaml": LEAD})
    (home / "__init__.py").unlink()
    assert folders() == {"acme": home / "conf"}


@pytest.mark.parametrize(
    "point",
    [
        ("console_scripts", "lead", "acme.lead:main"),
        ("clusterlab.students", "lead", "nowhere.lead:Lead"),
        ("clusterlab.students", "lead", "clusterlab.students.fixmatch:FixMatch"),
        ("clusterlab.students", "lead", "-"),
    ],
)
def test_what_names_no_package_with_configs_brings_no_folder(bring, point):
    bring("acme", point, **{"conf/student/lead.yaml": LEAD})
    assert folders() == {}


def test_a_package_without_configs_brings_no_folder(bring):
    bring("acme", STUDENT)
    assert folders() == {}


def test_its_config_is_composed_with_ours(bring, monkeypatch, capfd):
    bring("acme", STUDENT, **{"conf/student/lead.yaml": LEAD, "conf/recipe/student/lead_digits.yaml": "threshold: 0.7"})
    shown = composed(monkeypatch, capfd, "student=lead", "--cfg", "job", "--package", "student")
    assert "name: lead\n" in shown
    assert "threshold: 0.7\n" in shown
    assert "unlabelled_ratio: 7\n" in shown


def test_help_lists_it(bring, monkeypatch, capfd):
    bring("acme", STUDENT, **{"__init__.py": "raise ImportError", "conf/student/lead.yaml": LEAD})
    monkeypatch.setattr(sys, "argv", ["clusterlab", "--help"])
    main()
    students = next(row for row in capfd.readouterr().out.splitlines() if row.startswith("  student "))
    assert {"fixmatch", "lead"} <= set(students.removeprefix("  student").strip().split(", "))
    assert "acme" not in sys.modules


def test_a_mistyped_name_is_answered_with_that_of_another_package(bring, line):
    bring("acme", STUDENT, **{"conf/student/lead.yaml": LEAD})
    said = line("student=leed")
    assert said.startswith("student=leed is not known (did you mean lead?); choices: fixmatch")
    assert ", lead, " in said


def test_a_config_of_ours_is_composed_where_another_package_has_one_of_that_name(bring, monkeypatch, capfd):
    bring("acme", STUDENT, **{"conf/student/fixmatch.yaml": "name: theirs"})
    assert "name: fixmatch" in composed(monkeypatch, capfd, "student=fixmatch", "--cfg", "job", "--package", "student")


@pytest.mark.parametrize("group", ["student", "student@elsewhere"])
def test_a_chosen_config_that_two_have_is_refused(bring, group):
    bring("acme", STUDENT, **{"conf/student/fixmatch.yaml": "name: theirs"})
    said = (
        r"student=fixmatch is in clusterlab \(conf/student/fixmatch.yaml\) and in acme \(conf/student/fixmatch.yaml\)"
    )
    with pytest.raises(UserError, match=said):
        check_configs({group: "fixmatch", "head": None}, config_folder())
    check_configs({group: "uda", "head": None}, config_folder())


def test_a_method_that_two_packages_bring_is_one_line_before_anything_runs(bring, line):
    for package in ("acme", "apex"):
        configs = {"conf/method/mine.yaml": "# @package _global_\ndefaults: [scan, _self_]\n"}
        bring(package, ("clusterlab.conf", package, package), **configs)
    assert line("method=mine") == (
        "method=mine is in acme (conf/method/mine.yaml) and in apex (conf/method/mine.yaml): rename it in one of them, "
        "or uninstall that one"
    )


def test_a_part_that_is_called_as_one_of_ours_is_refused_if_it_is_chosen(bring, line):
    bring("acme", ("clusterlab.students", "fixmatch", "acme.lead:Lead"))
    assert line("student=fixmatch") == (
        "student=fixmatch is in clusterlab (clusterlab.students.fixmatch) and in acme (acme.lead:Lead): rename it in "
        "one of them, or uninstall that one"
    )
    assert registry.find("student", "uda", Stage).__name__ == "UDA"


def test_a_part_that_two_packages_bring_is_refused(bring):
    bring("acme", STUDENT)
    bring("apex", ("clusterlab.students", "lead", "apex.other:Other"))
    with pytest.raises(UserError, match=r"student=lead is in apex \(apex.other:Other\) and in acme \(acme.lead:Lead\)"):
        registry.find("student", "lead", Stage)


def test_a_part_without_a_config_is_one_line(bring, line):
    bring("acme", STUDENT)
    assert line("student=lead") == (
        "student=lead of acme (acme.lead:Lead) has no config: the package lacks conf/student/lead.yaml"
    )


def test_a_config_that_is_no_yaml_is_one_line_with_its_place(bring, line):
    home = bring("acme", STUDENT, **{"conf/student/lead.yaml": "name: [lead\n"})
    said = line("student=lead")
    assert said.startswith("a config cannot be read: ")
    assert f'"{home / "conf" / "student" / "lead.yaml"}", line 1' in said


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("x = 1", "AttributeError: module 'acme.lead' has no attribute 'Lead'"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
    ],
)
def test_a_part_that_cannot_be_imported_is_one_line_with_the_reason(bring, line, code, reason):
    bring("acme", STUDENT, **{"conf/student/lead.yaml": LEAD, "lead.py": code})
    assert line("student=lead") == f"student=lead of acme (acme.lead:Lead) cannot be imported: {reason}"


def test_a_part_that_lacks_its_hook_is_refused_before_anything_runs(bring, line):
    bring("acme", STUDENT, **{"conf/student/lead.yaml": LEAD, "lead.py": UNFINISHED})
    assert line("student=lead") == "student=lead of acme (acme.lead:Lead) does not define unlabelled_loss"
