"""A mistake in the command is one line that names what to change, and exit code 2."""

import sys

import pytest

from clusterlab.__main__ import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["features.max_epoch=3"],
            ["features.max_epoch is not a setting", "did you mean max_epochs?", "temperature"],
        ),
        (["hed.entropy_weight=3"], ["hed is not a setting", "did you mean head?"]),
        (["backbone=resnet18", "backbone.width=3"], ["backbone.width is not a setting", "stem"]),
        (["method=scam"], ["method=scam is not known", "did you mean scan?", "choices: ", "kmeans, scan"]),
        (["data=imagenett"], ["data=imagenett is not known", "choices:"]),
        (["features.max_epochs=ten"], ["features.max_epochs", "ten", "valid integer"]),
        (["features.max_epochs=0"], ["features.max_epochs=0 is not valid", "greater than 0"]),
        (["head.update=everything"], ["head.update", "'all' or 'heads'"]),
        (["+head.extra=1"], ["head.extra is not a setting", "entropy_weight"]),
        (["+extra=1"], ["extra is not a setting"]),
        (["num_clusters=1"], ["num_clusters=1 is too few", "2 or more"]),
        (["num_clusters=many"], ["num_clusters", "valid integer"]),
        (["num_clusters=2000"], ["num_clusters=2000", "1797 images"]),
        (["data=cifar10"], ["data.root"]),
        (["data=folder", "num_clusters=3", "data.root=nowhere"], ["nowhere", "data.root"]),
        (["data=folder", "data.root=."], ["num_clusters=N"]),
        (["features.max_epochs=[1"], ["cannot read the command", "name=value"]),
        (["method.stages=[features,neighbours]"], ["neighbours needs Embeddings", "method.stages"]),
        (["method.stages=[features,embedings]"], ["embedings", "did you mean embeddings?"]),
        (["head=null"], ["nothing is chosen for head", "head=NAME"]),
        (["method=spice", "features.queue_size=100"], ["features.queue_size=100", "batch of 64 images", "64 or 128"]),
        (
            ["method=spice", "backbone@student.backbone=wrn", "student.init=features"],
            ["student.init=features", "backbone@student.backbone=null"],
        ),
        (["backbone@student.backbone=wrn"], ["student.backbone is not a setting", "ema_decay"]),
        (["method=spice", "head.ratio.start=2"], ["head.ratio.start=2", "less than or equal to 1"]),
        (
            ["method=asd", "evaluation.oracle=true", "student=selflabel"],
            ["evaluation.oracle=true", "a student that is started with labels", "student=fixmatch"],
        ),
        (["method=asd", "head.adapt=scam"], ["head.adapt=scam is not known", "did you mean scan?", "scan, spice"]),
        (["method=scan", "head.adapt=scan"], ["head.adapt is not a setting", "settings of head:", "entropy_weight"]),
        (["method=asd", "head.num_instances=5"], ["head.num_instances=5", "num_clusters=10", "1797 images"]),
        (["method=asd", "triggers.sampler=neighbours", "triggers.labels=forced"], ["triggers.labels=prototype"]),
        (["trainer=gpu"], ["trainer.accelerator=gpu", "trainer=cpu"]),
        (["data.protocol=split"], ["protocol"]),
        (["seed=0,1"], ["seed=0,1 has several values", "write -m before it"]),
        (["-m", "hed.entropy_weight=1,2"], ["hed is not a setting", "did you mean head?"]),
        (["-m", "method=scan,scam"], ["method=scam is not known", "did you mean scan?", "in job 2: method=scam"]),
        (["-m", "method=scan,asd", "head.entropy_weight=2"], ["head.entropy_weight is not a setting", "in job 2"]),
        (["-m", "seed=0,1,0"], ["seed has the value 0 more than once"]),
        (["-m", "head.entropy_weight=interval(1,2)"], ["add hydra/sweeper=optuna"]),
        (["-m", "seed=0,1", "hydra/launcher=joblob"], ["hydra/launcher=joblob is not known", "did you mean joblib?"]),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_two(words, said, mistake, tmp_path):
    import torch

    if words == ["trainer=gpu"] and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    code, output = mistake(*words)
    lines = [line for line in output.splitlines() if line.startswith("clusterlab: ")]
    assert (code, len(lines)) == (2, 1), output
    assert "Traceback" not in output
    assert all(part in lines[0] for part in said), lines[0]
    assert not list(tmp_path.glob("outputs/sweeps/*"))


@pytest.fixture
def mistake(tmp_path, monkeypatch, capfd):
    """The command in this process, because starting one costs seconds; answers with exit code and output."""

    def run(*words):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["clusterlab", *words, "wandb.mode=disabled"])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, "".join(capfd.readouterr())

    return run


def test_the_command_itself_answers_so(command):
    lines = command("num_clusters=1", code=2).splitlines()
    assert lines == ["clusterlab: num_clusters=1 is too few: use 2 or more"]


def test_debug_shows_the_traceback(command):
    assert "Traceback" in command("num_clusters=1", "debug=true", code=1)
