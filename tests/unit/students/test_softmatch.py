import math

import pytest
import torch
from small_students import few_steps, make_student

from clusterlab.students.softmatch import SoftMatchState, aligned, gaussian_weight, softmatch_loss, updated

STATE = SoftMatchState(torch.tensor(0.8), torch.tensor(0.04), torch.tensor([0.5, 0.3, 0.2]))


def views(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(12, 3, generator=generator), torch.randn(12, 3, generator=generator)


def weight(*confidences, mu=0.8, var=0.04):
    found = gaussian_weight(torch.tensor(confidences), torch.tensor(mu), torch.tensor(var), num_sigmas=2)
    return found.tolist()


def test_the_weight_agrees_with_the_reference():
    assert weight(0.6, 0.8, 0.99) == pytest.approx([0.135335, 1, 1], abs=1e-6)


def test_without_any_variance_only_what_reaches_the_average_counts():
    assert weight(0.7, 0.8, 0.9, var=0.0) == [0, 1, 1]


def test_the_alignment_agrees_with_the_reference():
    found = aligned(torch.tensor([[0.6, 0.3, 0.1]]), STATE.p_model)
    assert found[0].tolist() == pytest.approx([0.4444, 0.3704, 0.1852], abs=1e-4)


def test_even_probabilities_are_left_as_they_are():
    probs = torch.tensor([[0.6, 0.3, 0.1]])
    assert aligned(probs, torch.full((3,), 1 / 3))[0].tolist() == pytest.approx([0.6, 0.3, 0.1])


def test_a_collapsed_network_is_sure_of_nothing_once_aligned():
    probs = torch.tensor([[0.98, 0.01, 0.01]])
    assert aligned(probs, probs[0])[0].tolist() == pytest.approx([1 / 3] * 3, abs=1e-3)


def test_the_averages_move_towards_the_aligned_batch():
    probs = torch.tensor([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]])
    found = updated(STATE, probs, decay=0.9)
    p_model = [0.9 * old + 0.1 * new for old, new in zip([0.5, 0.3, 0.2], [0.5, 0.5 / 3, 1 / 3], strict=True)]
    assert found.p_model.tolist() == pytest.approx(p_model)
    confidence = []
    for row in probs.tolist():
        ratio = [p * (1 / 3 + 1e-6) / (m + 1e-6) for p, m in zip(row, p_model, strict=True)]
        confidence.append(max(ratio) / sum(ratio))
    mean = sum(confidence) / 3
    assert float(found.mu) == pytest.approx(0.9 * 0.8 + 0.1 * mean)
    assert float(found.var) == pytest.approx(0.9 * 0.04 + 0.1 * sum((c - mean) ** 2 for c in confidence) / 2)


def test_a_batch_of_one_has_no_variance():
    assert float(updated(STATE, torch.tensor([[0.8, 0.1, 0.1]]), decay=0.9).var) == pytest.approx(0.036)


def test_agrees_with_the_formula_written_out_as_loops():
    weak, strong = views()
    total, weights, moved = 0.0, [], 0
    for w, s in zip(weak, strong, strict=True):
        p = w.softmax(0).tolist()
        label = p.index(max(p))
        ratio = [a * (1 / 3 + 1e-6) / (float(m) + 1e-6) for a, m in zip(p, STATE.p_model, strict=True)]
        moved += ratio.index(max(ratio)) != label
        below = min(max(ratio) / sum(ratio) - 0.8, 0)
        weights.append(math.exp(-(below**2) / (2 * 0.04 / 4)))
        total -= weights[-1] * float(s.log_softmax(0)[label])
    assert moved > 0  # or the labels before and after the alignment could not be told apart
    found = softmatch_loss(weak, strong, state=STATE, num_sigmas=2)
    assert float(found.total) == pytest.approx(total / 12, rel=1e-5)
    assert float(found.kept) == pytest.approx(sum(weights) / 12, rel=1e-5)


def test_no_gradient_reaches_the_weak_views():
    weak, strong = (view.requires_grad_() for view in views())
    softmatch_loss(weak, strong, state=STATE, num_sigmas=2).total.backward()
    assert weak.grad is None
    assert float(strong.grad.abs().max()) > 0


def test_misaligned_views_are_refused():
    weak, strong = views()
    with pytest.raises(Exception, match=r"shape|dimension|type"):
        softmatch_loss(weak, strong[:5], state=STATE, num_sigmas=2)


def test_the_averages_start_where_everything_counts_and_take_in_a_batch_before_they_weight_it(work):
    stage = make_student("softmatch", work, settings=few_steps("softmatch", state_decay=0.5))
    assert [float(stage.mu), float(stage.var), *stage.p_model.tolist()] == pytest.approx([0.1, 1, *[0.1] * 10])
    probs = torch.full((2, 10), 0.1)
    probs[:, 4] = torch.tensor([0.11, 0.91])
    probs /= probs.sum(dim=1, keepdim=True)
    loss = stage.unlabelled_loss(probs.log(), probs.log(), torch.tensor([1, 2]))
    assert float(stage.p_model[4]) == pytest.approx(0.5 * 0.1 + 0.5 * float(probs[:, 4].mean()))
    assert 0.5 < float(stage.var) < 0.6
    assert 0.9 < float(loss.kept) < 0.999  # with the averages from before, both rows would count in full
