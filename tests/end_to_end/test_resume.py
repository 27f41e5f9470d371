"""A run that was killed in any stage ends as an unbroken one."""

import shutil

import pytest
import torch

from command_line import SMALL
from killed import Running, succeed

STAGES = {
    "scan": ("features", "embeddings", "neighbours", "baseline", "head", "student", "map"),
    "spice": ("features", "embeddings", "baseline", "head", "reliable", "student", "map"),
    "asd": ("head", "baseline", "transitions", "triggers", "student", "map"),
}
TRAINED = ("features", "head", "student")
#: The other stages are SCAN's; for students see test_resume_students.
KILLS = [("scan", stage) for stage in STAGES["scan"]] + [("spice", stage) for stage in (*TRAINED, "reliable")]
KILLS += [("asd", stage) for stage in ("head", "transitions", "triggers")]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    for method in STAGES:
        succeed(folder, *SMALL[method])
    return folder


def outcome(folder, method="scan"):
    return (folder / "outputs" / "digits" / method / "0" / "assignments.csv").read_bytes()


def kill_in(folder, method, stage):
    """Kill the run in `stage`: in a trained one after its first checkpoint, in another as soon as it has begun."""
    sign = f"{stage}-*.work/last.ckpt" if stage in TRAINED else f"{stage}-*.work"
    running = Running(folder, *SMALL[method], "trainer.checkpoint_seconds=0")
    running.kill_once(lambda: list((folder / "outputs" / "stages").glob(sign)))


def with_stages_before(stage, method, unbroken, folder):
    """Copy what an unbroken run has made when it comes to `stage`."""
    earlier = STAGES[method][: STAGES[method].index(stage)]
    stages = folder / "outputs" / "stages"
    for done in (unbroken / "outputs" / "stages").iterdir():
        if done.is_dir() and done.name.split("-")[0] in (*earlier, "images"):
            shutil.copytree(done, stages / done.name)
    return stages


@pytest.mark.parametrize(("method", "stage"), KILLS)
def test_a_run_killed_in_a_stage_ends_as_an_unbroken_one(unbroken, tmp_path, method, stage):
    stages = with_stages_before(stage, method, unbroken, tmp_path)
    kill_in(tmp_path, method, stage)
    assert not (tmp_path / "outputs" / "digits" / method / "0" / "assignments.csv").exists()
    output = succeed(tmp_path, *SMALL[method], "trainer.checkpoint_seconds=0")
    assert f"{stage}: " in output
    assert outcome(tmp_path, method) == outcome(unbroken, method)
    assert not list(stages.glob("*.work"))


@pytest.mark.parametrize(
    ("method", "stage", "held"),
    [
        ("spice", "features", ("query.0.stem.0.weight", "key.shadow.0.stem.0.weight", "queue", "pointer")),
        ("spice", "head", ("network.heads.hidden_weight", "network.heads.weight")),
        ("spice", "student", ("network.heads.weight", "ema.shadow.heads.weight")),
        ("asd", "head", ("network.heads.weight", "ema.shadow.heads.weight", "transitions.bank", "transitions.counts")),
    ],
)
def test_a_checkpoint_holds_all_that_its_stage_carries_from_step_to_step(unbroken, tmp_path, method, stage, held):
    stages = with_stages_before(stage, method, unbroken, tmp_path)
    kill_in(tmp_path, method, stage)
    (path,) = stages.glob(f"{stage}-*.work/last.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    assert set(held) <= checkpoint["state_dict"].keys()
    assert checkpoint["optimizer_states"][0]["state"]
    # Samplers and generators carry nothing: they are seeded by the epoch and the step.
    assert checkpoint["epoch"] >= 0
    assert checkpoint["global_step"] > 0
    if (method, stage) == ("spice", "head"):
        assert checkpoint["best"]["network"]["heads.hidden_weight"].shape[0] == 1
    if method == "asd":
        assert (checkpoint["state_dict"]["transitions.bank"] >= 0).any()


def test_a_second_run_loads_every_stage(unbroken, tmp_path):
    shutil.copytree(unbroken / "outputs", tmp_path / "outputs")
    for method, stages in STAGES.items():
        output = succeed(tmp_path, *SMALL[method])
        assert output.count(": loaded ") == len(stages)
        assert "starting" not in output
        assert outcome(tmp_path, method) == outcome(unbroken, method)


def test_a_changed_setting_makes_what_depends_on_it_again_and_nothing_else(unbroken, tmp_path):
    shutil.copytree(unbroken / "outputs", tmp_path / "outputs")
    output = succeed(tmp_path, *SMALL["scan"], "head.entropy_weight=4")
    assert output.count(": loaded ") == STAGES["scan"].index("head")
    assert "head: scan: starting" in output


def test_two_methods_of_a_sweep_share_the_features(unbroken, command):
    words = [word for word in SMALL["spice"] if not word.startswith(("method", "head", "student", "reliable"))]
    command(
        "-m", "method=scan,spice", *words, "features=simclr", "head.max_epochs=1", "student.max_epochs=1",
        "method.stages=[features,embeddings,neighbours,head]",
    )  # fmt: skip
    folders = [path.name for path in (command.folder / "outputs" / "stages").iterdir() if path.is_dir()]
    assert len([name for name in folders if name.startswith("features-")]) == 1
    assert {name.split("-")[1] for name in folders if name.startswith("head-")} == {"scan", "spice"}
