import threading
import time
from dataclasses import replace
from typing import ClassVar

import hydra
import pytest
import torch
from omegaconf import OmegaConf

from clusterlab.__main__ import config_folder
from clusterlab.artifacts import Embeddings, Neighbours
from clusterlab.config import BackbonePlan, StagePlan, parse
from clusterlab.errors import UserError
from clusterlab.models.backbones.small import Small, SmallSettings
from clusterlab.pipeline import check_order, run_stages
from clusterlab.settings import Settings
from clusterlab.stage import PartSettings, Stage


class CountSettings(PartSettings):
    throughput: ClassVar[frozenset[str]] = frozenset({"workers"})

    size: int
    workers: int


class MakeEmbeddings(Stage):
    Settings: ClassVar[type[PartSettings]] = CountSettings
    produces = Embeddings
    runs: ClassVar[list[str]] = []

    def __init__(self, *, settings, work):
        self.settings, self.work = settings, work

    def run(self):
        self.runs.append(self.work.title)
        time.sleep(0.2)
        return Embeddings(values=torch.full((2, self.settings.size), 1.0))


class MakeNeighbours(Stage):
    Settings: ClassVar[type[PartSettings]] = CountSettings
    consumes: ClassVar[dict[str, type]] = {"embeddings": Embeddings}
    produces = Neighbours
    uses_num_clusters = True
    runs: ClassVar[list[str]] = []

    def __init__(self, *, settings, work, embeddings):
        self.work, self.embeddings = work, embeddings

    def run(self):
        self.runs.append(self.work.title)
        width = torch.tensor([[self.embeddings.values.shape[1]]])
        return Neighbours(train=width, eval=width)


@pytest.fixture
def config(tmp_path):
    MakeEmbeddings.runs.clear()
    MakeNeighbours.runs.clear()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        composed = hydra.compose("config", overrides=[f"stage_dir={tmp_path}", "trainer=cpu"])
    parsed = parse(OmegaConf.to_container(composed, resolve=True))
    return replace(parsed, stages=(plan("embeddings", MakeEmbeddings), plan("neighbours", MakeNeighbours)))


def plan(section, part, **changes):
    settings = CountSettings(**({"name": "count", "size": 3, "workers": 1} | changes))
    backbone = BackbonePlan(Small, SmallSettings(name="small", width=4))
    return StagePlan(section, part, settings, backbone)


def run(config, images):
    return run_stages(config, images, lambda *_: None)


def test_a_finished_artifact_is_loaded_and_not_made_again(config, digit_images):
    first, second = run(config, digit_images), run(config, digit_images)
    assert [step.cached for step in first + second] == [False, False, True, True]
    assert torch.equal(second[1].load().train, torch.tensor([[3]]))
    assert (len(MakeEmbeddings.runs), len(MakeNeighbours.runs)) == (1, 1)


@pytest.mark.parametrize(
    ("change", "made"),
    [
        (lambda c: replace(c, seed=1), [True, True]),
        (lambda c: replace(c, num_clusters=7), [False, True]),
        (lambda c: replace(c, trainer=c.trainer.model_copy(update={"inference_batch": 3})), [False, False]),
        (lambda c: replace(c, stages=(plan("embeddings", MakeEmbeddings, workers=9), c.stages[1])), [False, False]),
        (lambda c: replace(c, stages=(plan("embeddings", MakeEmbeddings, size=5), c.stages[1])), [True, True]),
        (lambda c: replace(c, stages=(c.stages[0], plan("neighbours", MakeNeighbours, size=5))), [False, True]),
    ],
)
def test_what_depends_on_a_change_is_made_again_and_nothing_else(config, digit_images, change, made):
    run(config, digit_images)
    assert [not step.cached for step in run(change(config), digit_images)] == made


def test_other_images_and_another_protocol_give_other_keys_and_labels_do_not(config, digit_images):
    keys = [step.key for step in run(config, digit_images)]
    assert [step.key for step in run(config, replace(digit_images, sealed_labels=None))] == keys
    assert run(config, replace(digit_images, fingerprint="others"))[0].key != keys[0]
    assert run(config, replace(digit_images, protocol="all"))[0].key != keys[0]


def test_a_new_version_of_the_code_is_a_new_key(config, digit_images, monkeypatch):
    run(config, digit_images)
    monkeypatch.setattr(MakeNeighbours, "version", 2)
    assert [step.cached for step in run(config, digit_images)] == [True, False]


def test_of_jobs_at_the_same_time_one_makes_a_stage_and_the_others_wait_for_it(config, digit_images):
    found = []
    jobs = [threading.Thread(target=lambda: found.append(run(config, digit_images))) for _ in range(4)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert len(found) == 4
    assert (len(MakeEmbeddings.runs), len(MakeNeighbours.runs)) == (1, 1)


def test_a_stage_without_its_input_is_refused_before_anything_runs(config):
    with pytest.raises(UserError, match=r"neighbours=count needs Embeddings, which no stage before it makes"):
        check_order(replace(config, stages=config.stages[::-1]))
    check_order(config)


def test_settings_refuse_what_is_not_a_number():
    class Number(Settings):
        value: float

    for text in ('{"value": NaN}', '{"value": Infinity}', '{"value": "1"}', "{}", '{"value": 1, "other": 2}'):
        with pytest.raises(ValueError, match="validation error"):
            Number.model_validate_json(text)
