import math

import pytest
import torch

from clusterlab.heads.scan import candidate_table, scan_loss, selection_loss


def waves():
    i, j = torch.meshgrid(torch.arange(6.0).double(), torch.arange(4.0).double(), indexing="ij")
    return 2 * torch.sin(0.9 * i + 0.5 * j**2), 2 * torch.cos(0.4 * i + 0.7 * j)


def values(loss):
    return tuple(float(term.detach()) for term in loss)


def sharp(clusters, k):
    return 1e4 * torch.nn.functional.one_hot(torch.tensor(clusters), k).double()


@pytest.mark.parametrize(
    ("weight", "total", "norm"),
    [(1, -0.009575025, 0.178259442), (2, -1.366407287, 0.198594553), (5, -5.436904073, 0.288316600)],
)
def test_values_and_gradients_agree_with_the_reference(weight, total, norm):
    anchors, neighbours = (v.requires_grad_() for v in waves())
    loss = scan_loss(anchors, neighbours, entropy_weight=weight)
    loss.total.backward()
    assert values(loss) == pytest.approx((total, 1.347257237, 1.356832262), abs=1e-8)
    assert float(anchors.grad.norm()) == pytest.approx(norm, abs=1e-8)
    assert float(neighbours.grad.norm()) == pytest.approx(0.170645245, abs=1e-8)  # no entropy flows into neighbours


def test_a_single_row_agrees_with_the_reference():
    anchors, neighbours = waves()
    loss = scan_loss(anchors[:1], neighbours[:1], entropy_weight=5)
    assert values(loss) == pytest.approx((-3.114884089, 1.579458460, 0.938868510), abs=1e-8)


def test_uniform_logits_give_the_logarithm_of_the_number_of_clusters():
    loss = scan_loss(torch.zeros(7, 10), torch.zeros(7, 10), entropy_weight=5)
    assert values(loss) == pytest.approx((-4 * math.log(10), math.log(10), math.log(10)), abs=1e-5)


def test_balanced_one_hot_agreement_gives_minus_weight_times_log_k():
    logits = sharp([0, 1, 2, 3], 4)
    assert values(scan_loss(logits, logits, entropy_weight=5)) == pytest.approx(
        (-6.931471806, 0, math.log(4)), abs=1e-7
    )


def test_collapse_into_one_cluster_has_almost_no_entropy():
    logits = sharp([1, 1, 1], 4)
    loss = scan_loss(logits, logits, entropy_weight=5)
    assert values(loss) == pytest.approx((-2.763102e-06, 0, 5.526204e-07), rel=1e-5, abs=1e-12)


def test_certain_disagreement_costs_exactly_one_hundred_and_keeps_gradients_finite():
    anchors, neighbours = sharp([0, 1], 2).requires_grad_(), sharp([1, 0], 2)
    loss = scan_loss(anchors, neighbours, entropy_weight=5)
    loss.total.backward()
    assert float(loss.consistency.detach()) == 100
    assert bool(anchors.grad.isfinite().all())


def test_opposite_logits_of_two_clusters_follow_the_closed_form():
    s = 20.0
    one, other = torch.tensor([[s, 0.0]]).double(), torch.tensor([[0.0, s]]).double()
    assert float(scan_loss(one, other, entropy_weight=0).total) == pytest.approx(19.306853, abs=1e-6)


def test_permuting_columns_or_rows_together_changes_nothing_and_swapping_roles_does():
    anchors, neighbours = waves()
    want = values(scan_loss(anchors, neighbours, entropy_weight=5))
    columns, rows = torch.tensor([2, 0, 3, 1]), torch.tensor([5, 3, 1, 0, 2, 4])
    assert values(scan_loss(anchors[:, columns], neighbours[:, columns], entropy_weight=5)) == pytest.approx(want)
    assert values(scan_loss(anchors[rows], neighbours[rows], entropy_weight=5)) == pytest.approx(want)
    assert values(scan_loss(neighbours, anchors, entropy_weight=5)) != pytest.approx(want, abs=1e-3)


def test_several_heads_give_what_each_gives_alone():
    anchors, neighbours = waves()
    together = scan_loss(torch.stack([anchors, neighbours]), torch.stack([neighbours, anchors]), entropy_weight=2)
    alone = [
        scan_loss(anchors, neighbours, entropy_weight=2),
        scan_loss(neighbours, anchors, entropy_weight=2),
    ]
    assert together.total.tolist() == pytest.approx([float(a.total) for a in alone])


def test_misaligned_neighbours_are_refused():
    with pytest.raises(Exception, match=r"shape|dimension|type"):
        scan_loss(torch.zeros(4, 3), torch.zeros(5, 3), entropy_weight=5)


def test_selection_agrees_with_the_reference():
    i, j = torch.meshgrid(torch.arange(12.0).double(), torch.arange(5.0).double(), indexing="ij")
    heads = torch.stack([3 * torch.sin(0.8 * i + 1.9 * j), 3 * torch.cos(0.5 * i * j + 0.2 * j)]).softmax(-1)
    row = torch.arange(12)
    loss = selection_loss(heads, torch.stack([(row + 1) % 12, (row + 5) % 12], dim=1))
    assert loss.entropy.tolist() == pytest.approx([1.605762399, 1.260279917], abs=1e-8)
    assert loss.consistency.tolist() == pytest.approx([1.513724844, 0.958123170], abs=1e-8)
    assert loss.total.tolist() == pytest.approx([-0.092037555, -0.302156747], abs=1e-8)


def test_candidates_are_the_sample_itself_and_its_neighbours_by_sample_index():
    table = candidate_table(torch.tensor([[5, 3], [1, 5], [3, 1]]), torch.tensor([1, 3, 5]), 6)
    assert table.tolist() == [[-1] * 3, [1, 5, 3], [-1] * 3, [3, 1, 5], [-1] * 3, [5, 3, 1]]
