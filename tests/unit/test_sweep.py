import itertools
import platform
import re
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from clusterlab import sweep
from clusterlab.errors import UserError
from clusterlab.sweep import Job, file_name, job_dir, objective, run_sweep, sweep_name, words_of_search
from clusterlab.sweep_records import JOBS, LOCK, Plan, Record, is_running, leave, records, setting_of

TEMPLATE = "outputs/${data.name}/${method.name}/${seed}"
PLAN = Plan(id="first", host=platform.node(), fixed=("trainer",), options=(), count=2)
RECORD = Record(0, ("seed=0", "trainer=cpu"), ("seed",), "outputs/0", 0, metrics={"acc": 0.5})


def job(*words, template=TEMPLATE, run_dir="outputs/digits/scan/0"):
    return Job(Path("sweep"), 0, words, {"run_dir": run_dir, "seed": 0}, template)


def test_a_sweep_over_method_data_and_seed_uses_the_folders_of_single_runs():
    words = ("method=scan", "data=digits", "seed=0")
    assert job_dir(job(*words), ("method", "data", "seed")) == Path("outputs/digits/scan/0")


def test_what_run_dir_does_not_tell_becomes_a_folder_below_it():
    words = ("method=scan", "head.entropy_weight=2", "+trainer.extra=1", "seed=0", "trainer=cpu")
    found = job_dir(job(*words), ("method", "head.entropy_weight", "trainer.extra", "seed"))
    assert found == Path("outputs/digits/scan/0/+trainer.extra=1,head.entropy_weight=2")


@pytest.mark.parametrize("template", ["mine", "mine/${seed}", "mine/${data.root}", TEMPLATE])
def test_jobs_that_differ_have_different_folders(template):
    grid = {"method": ["scan", "spice"], "seed": ["0", "1"], "data.root": ["a/b", "a-b", "a b", "x" * 300, "x" * 301]}
    folders = set()
    for method, seed, root in itertools.product(*grid.values()):
        run_dir = template.replace("${seed}", seed).replace("${method.name}", method).replace("${data.root}", root)
        words = (f"method={method}", f"seed={seed}", f"data.root={root}")
        folders.add(job_dir(job(*words, template=template, run_dir=run_dir), tuple(grid)))
    assert len(folders) == 20


def test_a_run_dir_that_varies_is_the_users_own():
    assert job_dir(job("run_dir=mine", template="mine", run_dir="mine"), ("run_dir",)) == Path("mine")


def test_a_folder_name_is_plain_and_short():
    for text in ("data.root=/a/../b", "x" * 500, "a=$(rm -rf ~)", "a=é"):
        assert re.fullmatch(r"[\w.+=,@-]{1,100}", file_name(text))
        assert "/" not in file_name(text)


def test_a_sweep_is_found_again_by_its_words_in_any_order():
    names = {
        sweep_name(["seed=0,1", "method=scan"], ["seed=0,1"]),
        sweep_name(["method=scan", "seed=0,1"], ["seed=0,1"]),
    }
    assert len(names) == 1
    assert sweep_name(["seed=0,1", "method=spice"], ["seed=0,1"]) not in names


@pytest.mark.parametrize(("word", "setting"), [("seed=0", "seed"), ("++a.b=c=d", "a.b"), ("~head", "head")])
def test_the_setting_of_a_word(word, setting):
    assert setting_of(word) == setting


def test_a_value_that_stands_twice_is_refused():
    sweep.check_choices("seed", ["0", "1"])
    with pytest.raises(UserError, match="seed has the value 0 more than once"):
        sweep.check_choices("seed", ["0", "1", "0"])


def test_a_plugin_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    sweep.check_plugin("hydra/launcher=joblib")
    sweep.check_plugin("data=joblib")
    monkeypatch.setitem(sweep.PLUGINS, "joblib", "no_such_launcher")
    sweep.check_plugin("data=joblib")
    with pytest.raises(UserError, match=r"hydra/launcher=joblib is not installed: pip install 'clusterlab\[sweep\]'"):
        sweep.check_plugin("hydra/launcher=joblib")


def test_a_search_is_told_to_maximise_unless_the_command_says_otherwise():
    assert words_of_search(["seed=0,1"]) == []
    told = words_of_search(["hydra/sweeper=optuna", "hydra.sweeper.sampler.seed=3"])
    assert "hydra.sweeper.direction=maximize" in told
    assert not [word for word in told if "seed" in word]
    assert not [
        word for word in words_of_search(["hydra/sweeper=optuna", "hydra/sweeper/sampler=grid"]) if "seed" in word
    ]


def test_the_objective_looks_at_no_label():
    metrics = {"silhouette": 0.3, "used_clusters": 10, "num_clusters": 10, "acc": 0.1, "nmi": 0.1, "ari": 0.1}
    without = {name: metrics[name] for name in ("silhouette", "used_clusters", "num_clusters")}
    assert objective(metrics) == objective(metrics | {"acc": 0.9, "nmi": 0.9, "ari": 0.9}) == objective(without) == 0.3


def test_the_objective_counts_empty_clusters_against_a_run():
    metrics = {"silhouette": 0.9, "used_clusters": 2, "num_clusters": 10}
    assert objective(metrics) == pytest.approx(0.1)
    assert objective(metrics | {"silhouette": None}) is None
    assert objective({}) is None


def test_records_come_back_as_they_were_left(tmp_path):
    (tmp_path / JOBS).mkdir()
    PLAN.write(tmp_path)
    later = replace(RECORD, number=11, error="it broke", metrics={})
    for record in (later, RECORD):
        leave(tmp_path, PLAN, record)
    assert records(tmp_path) == [RECORD, later]
    assert Plan.read(tmp_path) == PLAN


def test_a_job_of_an_earlier_run_of_the_command_leaves_no_record(tmp_path):
    (tmp_path / JOBS).mkdir()
    replace(PLAN, id="second").write(tmp_path)
    leave(tmp_path, PLAN, RECORD)
    assert records(tmp_path) == []


def test_a_sweep_is_running_while_its_lock_is_held_and_its_plan_is_the_latest(tmp_path):
    PLAN.write(tmp_path)
    assert not is_running(tmp_path, "first")
    with FileLock(tmp_path / LOCK, is_singleton=False):
        assert is_running(tmp_path, "first")
        assert not is_running(tmp_path, "second")
    assert not is_running(tmp_path / "nowhere", "first")


def test_the_same_sweep_twice_at_a_time_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "LOCK_SECONDS", 0)
    with FileLock(tmp_path / LOCK), pytest.raises(UserError, match="running already"):
        run_sweep(tmp_path, PLAN, lambda: None)


def test_a_sweep_that_never_began_leaves_nothing(tmp_path):
    def launch():
        raise ValueError("mistyped")

    with pytest.raises(ValueError, match="mistyped"):
        run_sweep(tmp_path / "sweep", PLAN, launch)
    assert not (tmp_path / "sweep").exists()


def test_a_launcher_that_breaks_still_gives_a_table_and_the_reason(tmp_path, capfd):
    def launch():
        leave(tmp_path, PLAN, RECORD)
        raise RuntimeError("lost a job")

    (tmp_path / "sweep.csv").write_text("of another time", encoding="utf-8")
    assert run_sweep(tmp_path, PLAN, launch) == 1
    assert "the sweep ended early: RuntimeError: lost a job" in capfd.readouterr().err
    assert "0.500000" in (tmp_path / "sweep.csv").read_text(encoding="utf-8")


def test_the_first_process_that_fails_says_why(tmp_path, monkeypatch):
    monkeypatch.setenv(sweep.ERROR_FILE, str(tmp_path / "error"))
    sweep.say_why("the cause")
    sweep.say_why("what came of it")
    assert (tmp_path / "error").read_text(encoding="utf-8") == "the cause"
