"""The instance classifier at work: what it learns in which step, what it counts, what it leaves behind."""

from itertools import chain
from typing import NamedTuple

import pytest
import torch
from small_asd import asd
from torch import Tensor
from torch.nn import functional as F

from clusterlab.heads.asd import Asd, align
from clusterlab.models.classifier import Classifier
from clusterlab.rng import generator_for

STEPS = 8


class Seen(NamedTuple):
    """What a spied-on training did: by step, or for export after the last one."""

    sets: dict[int, tuple[Tensor, Tensor]]
    learned: dict[int, list[Tensor]]
    visits: dict[int, tuple[Tensor, Tensor]]


def spied(stage: Asd) -> Seen:
    """Note the labelled set of each step, the images whose strong views are learned, and what is counted."""
    seen = Seen({}, {}, {})
    labelled_set, look, update = stage.labelled_set, stage.look, stage.transitions.update

    def note_set(step):
        seen.sets[step] = labelled_set(step)
        return seen.sets[step]

    def note_look(view, index, purpose):
        if view is stage.strong_view:
            seen.learned.setdefault(stage.global_step, []).append(index)
        return look(view, index, purpose)

    def note_update(index, classes):
        seen.visits[stage.global_step] = (index, classes)
        update(index, classes)

    stage.labelled_set, stage.look, stage.transitions.update = note_set, note_look, note_update
    return seen


def is_first(stage, chosen, classes):
    return chosen.equal(stage.first) and classes.equal(torch.arange(12))


@pytest.mark.parametrize(("cold_share", "cold"), [(0.0, 0), (0.25, 2), (0.3, 3), (1.0, 8)])
def test_the_first_steps_learn_the_first_set_and_the_others_a_set_of_their_own(work, cold_share, cold):
    stage = asd(work, cold_share=cold_share, candidates=2)
    seen = spied(stage)
    stage.run()
    for step in range(STEPS):
        chosen, classes = seen.sets[step]
        assert is_first(stage, chosen, classes) == (step < cold)
        assert classes.sort().values.tolist() == list(range(12))
        if step >= cold:
            assert set(chosen.tolist()) < set(stage.drawn_set(step).tolist())


def test_two_strong_views_of_the_set_are_learned_in_each_step(work):
    stage = asd(work)
    seen = spied(stage)
    stage.run()
    for step in range(STEPS):
        first, second = seen.learned[step]
        assert first.equal(second)
        assert first.equal(seen.sets[step][0])


def test_the_two_strong_views_are_not_the_same(work):
    stage = asd(work)
    batches = []
    stage.network.register_forward_pre_hook(
        lambda module, inputs: batches.append(inputs[0]) if module.training else None
    )
    stage.run()
    assert [len(batch) for batch in batches] == [24] * STEPS
    assert all(not batch[:12].equal(batch[12:]) for batch in batches)


def test_without_resampling_every_step_learns_the_first_set(work):
    stage = asd(work, resample=False, cold_share=0.0)
    seen = spied(stage)
    result = stage.run()
    assert all(is_first(stage, *seen.sets[step]) for step in range(STEPS))
    assert is_first(stage, result.drawn, result.drawn_classes)


@pytest.mark.parametrize(("track_from", "first"), [(0.0, 0), (0.25, 2), (0.3, 3), (0.9, 8)])
def test_visits_are_counted_from_the_share_of_steps_that_is_asked_for(work, track_from, first):
    stage = asd(work, track_from=track_from)
    seen = spied(stage)
    stage.run()
    assert list(seen.visits) == list(range(first, STEPS))


def counted(visits):
    """Transitions between visits of the same image, written out."""
    last, counts = {}, torch.zeros(12, 12, dtype=torch.int64)
    moves = []
    for index, classes in visits:
        moves.append([])
        for image, c in zip(index.tolist(), classes.tolist(), strict=True):
            if image in last and last[image] != c:
                moves[-1].append((last[image], c))
                counts[last[image], c] += 1
            last[image] = c
    return last, counts, moves


def test_transitions_are_those_between_visits_to_the_same_image(work):
    stage = asd(work, track_from=0.0, max_epochs=4, lr=0.1)
    seen = spied(stage)
    result = stage.run()
    for epoch in range(4):
        visited = torch.cat([seen.visits[4 * epoch + step][0] for step in range(4)])
        assert visited.sort().values.equal(work.images.train_index)
    last, counts, _ = counted(seen.visits.values())
    assert int(counts.sum()) > 20
    assert result.transitions.equal(counts)
    assert {image: int(stage.transitions.bank[image]) for image in last} == last
    assert (stage.transitions.bank[work.images.eval_index] == -1).all()


def test_a_window_forgets_the_transitions_of_older_steps(work):
    stage = asd(work, track_from=0.0, max_epochs=4, lr=0.1, window=3)
    seen = spied(stage)
    result = stage.run()
    _, _, moves = counted(seen.visits.values())
    recent = torch.zeros(12, 12, dtype=torch.int64)
    for old, new in chain.from_iterable(moves[-3:]):
        recent[old, new] += 1
    assert 0 < int(recent.sum()) < sum(map(len, moves))
    assert result.transitions.equal(recent)


def weak(stage, index, purpose, step):
    """Weak views with the draws of a step."""
    draws = generator_for(stage.work.seed, stage.work.title, purpose, step)
    return stage.weak_view(stage.pixels.take(index), draws)


def loaded(work, result):
    network = Classifier(backbone=work.network.build(), clusters=12)
    network.load_state_dict(result.network)
    return network.eval()


def test_classes_are_what_the_averaged_network_predicts_for_a_weak_view(work):
    stage = asd(work)
    predicted = {}
    original = stage.weak_logits

    def check(index, purpose):
        found = original(index, purpose)
        with torch.no_grad():
            views = weak(stage, index, purpose, stage.global_step)
            torch.testing.assert_close(found, stage.ema.shadow.eval()(views)[0])
            assert not torch.allclose(found, stage.network.eval()(views)[0]) or stage.global_step == 0
        stage.network.train()
        predicted[stage.global_step, purpose] = found.argmax(dim=1)
        return found

    stage.weak_logits = check
    seen = spied(stage)
    stage.run()
    assert {step for step, purpose in predicted if purpose == "align"} == {2, 3, 4, 5, 6, 7, 8}
    for step, (_, classes) in seen.visits.items():
        assert classes.equal(predicted[step, "visit"])


@pytest.mark.parametrize("ema_decay", [0.5, None])
def test_the_result_is_the_averaged_network_where_there_is_one(work, ema_decay):
    stage = asd(work, ema_decay=ema_decay)
    result = stage.run()
    assert (stage.ema is None) == (ema_decay is None)
    weights = stage.network.heads.weight.data
    assert result.network["heads.weight"].equal(weights) == (ema_decay is None)
    if ema_decay is not None:
        assert result.network["heads.weight"].equal(stage.ema.shadow.heads.weight.data)


@torch.no_grad()
def test_what_is_exported_agrees_with_the_exported_network(work):
    stage = asd(work, candidates=2, lr=0.1)
    result = stage.run()
    network = loaded(work, result)
    plain = work.view("plain")(stage.pixels.take(torch.arange(60)), torch.Generator())
    features = network.backbone(plain)
    confidence, predicted = network.classify(features)[0].softmax(dim=1).max(dim=1)
    assert result.predicted.equal(predicted)
    assert len(predicted.unique()) > 1
    torch.testing.assert_close(result.confidence, confidence)
    torch.testing.assert_close(result.embeddings.float(), F.normalize(features, dim=1), atol=1e-3, rtol=0)
    assert result.transitions.equal(stage.transitions.counts)


@torch.no_grad()
def test_the_set_drawn_last_has_the_classes_that_the_exported_network_aligns_it_to(work):
    stage = asd(work, candidates=2)
    result = stage.run()
    candidates = stage.drawn_set(STEPS)
    rows, classes = align(loaded(work, result)(weak(stage, candidates, "align", STEPS))[0], "hungarian")
    assert dict(zip(result.drawn.tolist(), result.drawn_classes.tolist(), strict=True)) == dict(
        zip(candidates[rows].tolist(), classes.tolist(), strict=True)
    )


@pytest.mark.parametrize("ema_decay", [0.5, None])
def test_only_the_views_that_are_learned_train_the_statistics_of_batch_norm(work, ema_decay):
    stage = asd(work, ema_decay=ema_decay, track_from=0.0, cold_share=0.0)
    learned = []
    stage.network.backbone.stem[1].register_forward_pre_hook(
        lambda module, inputs: learned.append(inputs[0]) if module.training else None
    )
    stage.run()
    assert [len(batch) for batch in learned] == [2 * 12] * STEPS
    norm = stage.network.backbone.stem[1]
    mean, variance = torch.zeros(4), torch.ones(4)
    for batch in learned:
        mean = 0.9 * mean + 0.1 * batch.mean((0, 2, 3))
        variance = 0.9 * variance + 0.1 * batch.transpose(0, 1).flatten(1).var(dim=1)
    torch.testing.assert_close(norm.running_mean, mean.detach())
    torch.testing.assert_close(norm.running_var, variance.detach())
    teacher = stage.network if stage.ema is None else stage.ema.shadow
    assert teacher.backbone.stem[1].running_mean.equal(norm.running_mean)


def test_every_weight_is_trained_and_none_of_the_average(work):
    stage = asd(work)
    names = {id(p): name for name, p in stage.named_parameters()}
    trained = {names[id(p)] for group in stage.trained_parameters() for p in group["params"]}
    assert trained == {f"network.{name}" for name, _ in stage.network.named_parameters()}


def test_images_of_a_fixed_set_are_learned_to_be_told_apart(work):
    stage = asd(work, resample=False, max_epochs=40, lr=0.1, weak_view="plain", strong_view="plain")
    result = stage.run()
    found = result.predicted[stage.first]
    assert float((found == torch.arange(12)).float().mean()) > 0.9
