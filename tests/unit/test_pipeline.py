import threading
import time
from dataclasses import replace
from typing import Any, ClassVar

import hydra
import pytest
import torch
from omegaconf import OmegaConf

from clusterlab.artifacts import Embeddings, Neighbours, Projection
from clusterlab.choices import config_folder
from clusterlab.config import BackbonePlan, StagePlan, parse
from clusterlab.errors import UserError
from clusterlab.models.backbones.small import Small, SmallSettings
from clusterlab.pipeline import Given, check_order, run_stage, run_stages, settled, wanted
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


class ReadWhatThereIs(Stage):
    """Leaves the width of the embeddings, and that of the last embeddings or neighbours; −1: there are none."""

    Settings: ClassVar[type[PartSettings]] = CountSettings
    consumes: ClassVar[dict[str, Any]] = {"embeddings": Embeddings, "either": Embeddings | Neighbours}
    optional = frozenset({"embeddings"})
    produces = Projection

    def __init__(self, *, settings, work, embeddings, either):
        self.embeddings, self.either = embeddings, either

    def run(self):
        width = -1 if self.embeddings is None else self.embeddings.values.shape[1]
        last = self.either.values.shape[1] if isinstance(self.either, Embeddings) else -int(self.either.train)
        return Projection(points=torch.tensor([[width, last]]).float())


class MakeNeighboursIfRead(MakeNeighbours):
    only_if_read = True


class MakeNeighboursAlone(MakeNeighbours):
    consumes: ClassVar[dict[str, Any]] = {}

    def __init__(self, *, settings, work):
        super().__init__(settings=settings, work=work, embeddings=Embeddings(values=torch.zeros(1, settings.size)))


@pytest.fixture
def config(tmp_path):
    MakeEmbeddings.runs.clear()
    MakeNeighbours.runs.clear()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        composed = hydra.compose("config", overrides=[f"stage_dir={tmp_path}", "trainer=cpu"])
    parsed = parse(OmegaConf.to_container(composed, resolve=True))
    return replace(parsed, stages=(plan("embeddings", MakeEmbeddings), plan("neighbours", MakeNeighbours)))


def plan(section, part, *, kind=None, **changes):
    settings = CountSettings(**({"name": "count", "size": 3, "workers": 1} | changes))
    backbone = BackbonePlan(Small, SmallSettings(name="small", width=4))
    return StagePlan(section, part, settings, backbone, kind=kind or section)


def run(config, images):
    return run_stages(config, images, lambda *_: None, lambda _: None)


def test_a_finished_artifact_is_loaded_and_not_made_again(config, digit_images):
    first, second = run(config, digit_images), run(config, digit_images)
    assert [step.cached for step in first + second] == [False, False, True, True]
    assert torch.equal(second[1].load().train, torch.tensor([[3]]))
    assert (len(MakeEmbeddings.runs), len(MakeNeighbours.runs)) == (1, 1)


def test_every_stage_is_told_once_its_artifact_is_there_made_or_loaded(config, digit_images):
    heard = []
    for _ in range(2):
        run_stages(config, digit_images, lambda *_: None, lambda s: heard.append((s.cached, type(s.artifact))))
    assert heard == [(cached, kind) for cached in (False, True) for kind in (Embeddings, Neighbours)]


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


def found_by(config, images, *plans):
    """What `ReadWhatThereIs` finds after these stages."""
    stages = (*plans, plan("map", ReadWhatThereIs))
    check_order(replace(config, stages=stages))
    step = run(replace(config, stages=stages), images)[-1]
    return step.load().points[0].tolist(), step.key


def test_an_optional_input_that_no_stage_makes_arrives_as_none(config, digit_images):
    alone = plan("neighbours", MakeNeighboursAlone, size=4)
    without, key = found_by(config, digit_images, alone)
    assert without == [-1, -4]
    with_it, other_key = found_by(config, digit_images, plan("embeddings", MakeEmbeddings, size=5), alone)
    assert with_it == [5, -4]
    assert key != other_key


def test_of_a_union_the_latest_artifact_of_any_of_its_types_is_taken(config, digit_images):
    embeddings = plan("embeddings", MakeEmbeddings, size=5)
    neighbours = plan("neighbours", MakeNeighboursAlone, size=4)
    assert found_by(config, digit_images, embeddings, neighbours)[0] == [5, -4]
    assert found_by(config, digit_images, neighbours, embeddings)[0] == [5, 5]
    assert found_by(config, digit_images, embeddings, plan("features", MakeEmbeddings, size=7))[0] == [7, 7]


def test_of_a_union_any_of_its_types_will_do_and_one_is_needed(config):
    with pytest.raises(UserError, match=r"map=count needs Embeddings or Neighbours, which no stage before it makes"):
        check_order(replace(config, stages=(plan("map", ReadWhatThereIs),)))


def test_a_stage_that_is_wanted_only_if_it_is_read_is_left_out_where_nobody_reads_it(config, digit_images):
    embeddings, only_if_read = plan("embeddings", MakeEmbeddings), plan("neighbours", MakeNeighboursIfRead)
    unread = replace(config, stages=(embeddings, only_if_read))
    assert wanted(unread.stages) == [embeddings]
    assert [step.plan for step in run(unread, digit_images)] == [embeddings]
    assert MakeNeighbours.runs == []
    read = replace(config, stages=(embeddings, only_if_read, plan("map", ReadWhatThereIs)))
    assert wanted(read.stages) == list(read.stages)
    assert run(read, digit_images)[-1].load().points[0].tolist() == [3, -3]


def test_only_a_later_stage_counts_as_a_reader(config):
    stages = (plan("embeddings", MakeEmbeddings), plan("map", ReadWhatThereIs), plan("late", MakeNeighboursIfRead))
    assert wanted(stages) == list(stages[:2])


def test_the_inputs_of_a_stage_that_is_left_out_are_not_asked_for(config):
    only_if_read = plan("neighbours", MakeNeighboursIfRead)
    check_order(replace(config, stages=(only_if_read,)))
    with pytest.raises(UserError, match="neighbours=count needs Embeddings"):
        check_order(replace(config, stages=(only_if_read, plan("map", ReadWhatThereIs))))


def test_a_part_has_one_key_and_one_folder_in_whichever_section_it_stands(config, digit_images):
    first = run(replace(config, stages=(plan("head", MakeEmbeddings),)), digit_images)[0]
    again = run(replace(config, stages=(plan("adapted", MakeEmbeddings, kind="head"),)), digit_images)[0]
    assert (again.key, again.folder, again.cached) == (first.key, first.folder, True)
    assert first.folder.name == f"head-count-{first.key}"
    assert MakeEmbeddings.runs == ["head"]


def test_an_input_can_be_given_from_outside(config, digit_images):
    def made(key, width):
        given = Given(key, Embeddings(values=torch.zeros(2, width)))
        return run_stage(
            config, digit_images, plan("again", MakeNeighbours, kind="neighbours"), {"embeddings": given},
            lambda *_: None, number="7/7",
        )  # fmt: skip

    first, other, again = made("one", 6), made("another", 8), made("one", 6)
    assert (int(first.load().train), int(other.load().train)) == (6, 8)
    assert first.key == again.key != other.key
    assert (first.cached, again.cached) == (False, True)
    assert first.folder.name.startswith("neighbours-count-")


def shipped(tmp_path, *words):
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        composed = hydra.compose("config", overrides=[f"stage_dir={tmp_path}", *words])
    return parse(OmegaConf.to_container(composed, resolve=True))


@pytest.mark.parametrize("method", ["scan", "spice"])
def test_the_clusters_that_asd_starts_from_are_those_of_that_methods_head_itself(tmp_path, method):
    own = shipped(tmp_path, f"method={method}")
    adapting = shipped(tmp_path, "method=asd", f"head.adapt={method}")
    check_order(adapting)
    sections = [plan.section for plan in adapting.stages]
    assert sections.index("adapted") < sections.index("head")
    by_section = {plan.section: plan for plan in own.stages}
    before = [plan for plan in adapting.stages if plan.section in ("features", "embeddings", "neighbours", "adapted")]
    assert [replace(plan, section=plan.kind) for plan in before] == [by_section[plan.kind] for plan in before]
    assert len(before) == len([name for name in by_section if name in ("features", "embeddings", "neighbours", "head")])


class MakeGroups(MakeEmbeddings):
    def run(self):
        return Embeddings(values=torch.eye(3)[torch.arange(60) % 3])


class TakeNumber(MakeNeighbours):
    def run(self):
        width = torch.tensor([[self.work.num_clusters]])
        return Neighbours(train=width, eval=width)


def counting(config, *stages):
    count = config.count.settings.model_copy(update={"largest": 6})
    return replace(config, num_clusters=None, count=replace(config.count, settings=count), stages=stages)


def test_an_unknown_number_of_clusters_is_counted_as_soon_as_there_are_features(config, digit_images):
    groups, number = plan("embeddings", MakeGroups), plan("neighbours", TakeNumber)
    steps = run(counting(config, groups, number), digit_images)
    assert [step.plan.section for step in steps] == ["embeddings", "count", "neighbours"]
    assert int(steps[-1].load().train) == 3
    assert settled(counting(config), steps).num_clusters == 3
    given = run(replace(config, num_clusters=3, stages=(groups, number)), digit_images)
    assert [(step.key, step.cached) for step in given] == [(step.key, True) for step in steps if step is not steps[1]]


def test_stages_before_the_count_reckon_with_the_most_clusters_there_may_be(config, digit_images):
    class TakeNumberFirst(MakeNeighboursAlone):
        def run(self):
            return TakeNumber.run(self)

    steps = run(counting(config, plan("neighbours", TakeNumberFirst), plan("embeddings", MakeGroups)), digit_images)
    assert int(steps[0].load().train) == 6


def test_without_features_nothing_can_be_counted(config):
    with pytest.raises(UserError, match="num_clusters=auto needs features, which no stage makes: add num_clusters=N"):
        check_order(counting(config, plan("neighbours", MakeNeighboursAlone)))
