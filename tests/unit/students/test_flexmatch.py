import pytest
import torch
from small_students import few_steps, make_student

from clusterlab.students.flexmatch import flexible_threshold, flexmatch_loss, learning_status, select


def status(selected, *, pool_size, warmup=True):
    return learning_status(torch.tensor(selected), num_clusters=3, pool_size=pool_size, warmup=warmup).tolist()


def test_the_threshold_agrees_with_the_reference():
    found = flexible_threshold(torch.tensor([0.0, 0.5, 1.0]), 0.95)
    assert found.tolist() == pytest.approx([0, 0.316667, 0.95], abs=1e-6)


def test_the_status_is_each_clusters_share_of_the_largest():
    assert status([0, 0, 0, 0, 1, 1, -1], pool_size=7) == [1, 0.5, 0]


def test_with_a_warm_up_the_undecided_images_may_be_the_largest():
    selected = [0, 0, 1, -1, -1, -1, -1]
    assert status(selected, pool_size=7) == [0.5, 0.25, 0]
    assert status(selected, pool_size=7, warmup=False) == [1, 0.5, 0]


def test_images_outside_the_pool_do_not_count_as_undecided():
    assert status([0, 0, 1, -1, -1, -1, -1], pool_size=4) == [1, 0.5, 0]


@pytest.mark.parametrize("warmup", [True, False])
def test_before_anything_is_selected_every_status_is_zero(warmup):
    assert status([-1] * 5, pool_size=5, warmup=warmup) == [0, 0, 0]


def views(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(12, 3, generator=generator), torch.randn(12, 3, generator=generator)


def test_agrees_with_the_formula_written_out_as_loops():
    weak, strong = views()
    thresholds = [0.9, 0.5, 0.99]
    terms = []
    for w, s in zip(weak, strong, strict=True):
        p = w.softmax(0)
        label = int(p.argmax())
        terms.append(-float(s.log_softmax(0)[label]) if float(p[label]) >= thresholds[label] else 0.0)
    assert 0 < sum(term > 0 for term in terms) < 12
    found = flexmatch_loss(weak, strong, thresholds=torch.tensor(thresholds))
    assert float(found.total) == pytest.approx(sum(terms) / 12, rel=1e-5)
    assert float(found.kept) == pytest.approx(sum(term > 0 for term in terms) / 12)


def test_no_gradient_reaches_the_weak_views():
    weak, strong = (view.requires_grad_() for view in views())
    flexmatch_loss(weak, strong, thresholds=torch.zeros(3)).total.backward()
    assert weak.grad is None
    assert float(strong.grad.abs().max()) > 0


def test_misaligned_views_are_refused():
    weak, strong = views()
    with pytest.raises(Exception, match=r"shape|dimension|type"):
        flexmatch_loss(weak, strong[:5], thresholds=torch.zeros(3))


def test_only_sure_rows_are_selected_and_of_an_image_that_comes_twice_the_last_sure_one():
    probs = torch.tensor([[0.96, 0.04, 0], [0.5, 0.5, 0], [0, 0.97, 0.03], [0, 0.02, 0.98], [0.4, 0.6, 0]])
    index = torch.tensor([1, 2, 4, 1, 1])
    found = select(torch.tensor([-1, -1, 2, 2, -1]), index, probs, threshold=0.95)
    assert found.tolist() == [-1, 2, 2, 2, 1]


def test_a_step_uses_the_thresholds_from_before_it_and_selects_by_the_fixed_one(work):
    stage = make_student("flexmatch", work, settings=few_steps("flexmatch", threshold=0.95))
    sure = torch.full((4, 10), -10.0)
    sure[torch.arange(4), torch.tensor([0, 0, 0, 1])] = 10
    unsure = sure / 10  # largest probability 0.45
    index = torch.tensor([10, 11, 12, 13])
    # Nothing is selected yet, so all thresholds are 0 and everything counts, but only what reaches 0.95 is selected.
    assert float(stage.unlabelled_loss(unsure, unsure, index).kept) == 1
    assert stage.selected.max() == -1
    assert float(stage.unlabelled_loss(sure, sure, index).kept) == 1
    assert stage.selected[index].tolist() == [0, 0, 0, 1]
    stage.selected[:40] = 0  # of the forty images of the pool
    stage.selected[30:40] = 1
    # β is 1 for cluster 0 and 1/3 for cluster 1: thresholds 0.95 and 0.19.
    assert float(stage.unlabelled_loss(unsure, unsure, index).kept) == 0.25


def test_a_network_that_is_sure_of_one_cluster_alone_gives_the_others_a_threshold_of_zero(work):
    stage = make_student("flexmatch", work)
    stage.selected[:40] = 0
    status = learning_status(stage.selected, num_clusters=10, pool_size=40, warmup=True)
    assert flexible_threshold(status, 0.95).tolist() == pytest.approx([0.95] + [0] * 9)
