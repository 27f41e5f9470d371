import math
from dataclasses import replace

import pytest
import torch
from small_moco import moco
from torch import nn
from torch.nn import functional as F

from clusterlab.data.datamodule import Pixels
from clusterlab.errors import UserError
from clusterlab.features.moco import in_groups, moco_logits, moco_loss, queue_size
from clusterlab.models.ema import Ema
from clusterlab.models.optim import cosine_factor


def unit(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, dtype=torch.float64, generator=generator), dim=-1)


def reference_step():
    """The linear encoders, queue and inputs that the reference was given."""
    query, key = nn.Linear(3, 2), nn.Linear(3, 2)
    weight = torch.tensor([[1, 0, 0.5], [0, 1, -0.5]])
    with torch.no_grad():
        query.weight.copy_(weight)
        query.bias.copy_(torch.tensor([0.1, -0.1]))
        key.weight.copy_(0.9 * weight)
        key.bias.zero_()
    ema = Ema(query, decay=0.999, copy_buffers=False)
    ema.shadow.load_state_dict(key.state_dict())
    queue = F.normalize(torch.tensor([[1.0, 0, -1, 1], [0, 1, 0, 1]]), dim=0).T
    return query, ema, queue, torch.tensor([[1.0, 2, 3], [-1, 0.5, 2]]), torch.tensor([[1.1, 1.9, 3], [-1, 0.4, 2.2]])


def test_a_step_agrees_with_the_reference(work):
    query, ema, queue, first, second = reference_step()
    queries = F.normalize(query(first), dim=1)
    ema.update(query)
    keys = F.normalize(ema.shadow(second), dim=1).detach()
    logits = moco_logits(queries, keys, queue, temperature=0.2)
    assert logits.tolist() == [
        pytest.approx([5.00000048, 4.94185877, 0.76028597, -4.94185877, 4.03202534], abs=2e-6),
        pytest.approx([4.99866343, 0.82199484, -4.93196917, -0.82199484, -2.90619063], abs=2e-6),
    ]
    loss = moco_loss(queries, keys, queue, temperature=0.2)
    assert float(loss.total.detach()) == pytest.approx(0.43389079, abs=1e-6)
    assert ema.shadow.weight[0].tolist() == pytest.approx([0.90009999, 0, 0.45005], abs=1e-7)
    assert ema.shadow.bias.tolist() == pytest.approx([0.0001, -0.0001], abs=1e-8)

    stage = moco(work, projection_dim=2, queue_size=8)
    stage.queue[:4] = queue
    stage.enqueue(keys)
    assert stage.queue[:2].tolist() == [
        pytest.approx([0.98837900, 0.15200956], abs=1e-6), pytest.approx([0.14155337, -0.98993063], abs=1e-6),
    ]  # fmt: skip
    assert stage.queue[2:4].tolist() == [pytest.approx(row) for row in queue[2:].tolist()]
    assert int(stage.pointer) == 2


def test_agrees_with_the_formula_written_out_as_loops():
    queries, keys, queue = unit(5, 7), unit(5, 7, seed=1), unit(9, 7, seed=2)
    terms = []
    for i in range(5):
        own = math.exp(float(queries[i] @ keys[i]) / 0.3)
        terms.append(-math.log(own / (own + sum(math.exp(float(queries[i] @ z) / 0.3) for z in queue))))
    assert float(moco_loss(queries, keys, queue, temperature=0.3).total) == pytest.approx(sum(terms) / 5, rel=1e-12)


def test_equal_vectors_give_the_logarithm_of_the_number_of_candidates():
    same = F.normalize(torch.ones(4, 3, dtype=torch.float64), dim=1)
    loss = moco_loss(same, same, same[:1].expand(11, 3), temperature=0.2)
    assert float(loss.total) == pytest.approx(math.log(12), abs=1e-9)


def test_keys_opposite_to_the_queue_cost_nothing_at_a_low_temperature():
    axes = torch.eye(4, dtype=torch.float64)
    loss = moco_loss(axes, axes, -axes, temperature=0.01)
    assert float(loss.total) == pytest.approx(0, abs=1e-12)
    assert float(loss.accuracy) == 1


def test_the_gradient_reaches_the_queries_alone():
    queries, keys, queue = (unit(4, 3, seed=s).requires_grad_() for s in range(3))
    moco_loss(queries, keys, queue.detach(), temperature=0.2).total.backward()
    assert float(queries.grad.abs().sum()) > 0
    assert keys.grad is None


def test_misaligned_keys_are_refused():
    with pytest.raises(Exception, match=r"shape|dimension|type"):
        moco_loss(unit(4, 3), unit(3, 3), unit(5, 3), temperature=0.2)


@pytest.mark.parametrize(("epoch", "lr"), [(0, 0.015), (250, 0.0128033), (500, 0.0075), (999, 4e-8)])
def test_the_learning_rate_follows_the_reference(epoch, lr):
    assert 0.015 * cosine_factor(epoch, epochs=1000, final_ratio=0) == pytest.approx(lr, rel=0.1, abs=1e-8)


def test_the_queue_is_a_ring_that_forgets_its_oldest_keys(work):
    stage = moco(work, queue_size=16, projection_dim=4)
    batches = [unit(8, 4, seed=s).float() for s in range(3)]
    for keys in batches:
        stage.enqueue(keys)
    torch.testing.assert_close(stage.queue, torch.cat([batches[2], batches[1]]))


@pytest.mark.parametrize(
    ("wanted", "batch", "images", "size"),
    [(None, 64, 1797, 448), (None, 128, 50_000, 12_416), (None, 128, 1_281_167, 65_536), (None, 64, 100, 64),
     (12_800, 128, 50_000, 12_800)],
)  # fmt: skip
def test_the_queue_is_a_multiple_of_the_batch_that_suits_the_images(wanted, batch, images, size):
    assert queue_size(wanted, batch=batch, images=images) == size


def test_a_queue_that_is_no_multiple_of_the_batch_is_one_line_with_the_choices(work):
    with pytest.raises(UserError, match=r"features.queue_size=20 .* batch of 8 images: use 16 or 24"):
        moco(work, queue_size=20)


def test_each_part_of_a_batch_is_normalised_for_itself():
    norm = normalise_and_flatten()
    images = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 1, 2, 2)
    values = in_groups(norm, images, 2)
    torch.testing.assert_close(values[:4], values[4:])
    assert not torch.allclose(norm(images)[:4], norm(images)[4:])
    assert in_groups(norm, images, 100).shape == (8, 4)  # never a part of a single image


def normalise_and_flatten():
    return nn.Sequential(nn.BatchNorm2d(1, affine=False), nn.Flatten())


def test_keys_are_encoded_in_another_order_than_queries_and_a_part_with_its_own_statistics(work):
    stage = moco(work, batch_norm_groups=2)
    stage.pixels = Pixels(work.images, torch.device("cpu"))
    stage.contrastive = lambda images, draws: images.float().mean(dim=(2, 3), keepdim=True)
    index = torch.arange(8)
    order = torch.tensor([4, 1, 6, 3, 0, 5, 2, 7])
    found = stage.encode(normalise_and_flatten(), index, "key", order=order)[:, 0]
    values = torch.from_numpy(work.images.pixels)[:8].float().mean(dim=(1, 2, 3))[order]
    parts = [(part - part.mean()) / (part.var(unbiased=False) + 1e-5).sqrt() for part in values.chunk(2)]
    torch.testing.assert_close(found, torch.cat(parts))


def test_training_moves_both_encoders_and_the_queue_and_leaves_the_averages_batch_norm_alone(work):
    stage = moco(work)
    before = {name: value.clone() for name, value in stage.state_dict().items()}
    encoder = stage.run()
    after = stage.state_dict()
    for name in ("query.0.stem.0.weight", "key.shadow.0.stem.0.weight", "queue", "key.shadow.0.stem.1.running_mean"):
        assert not torch.equal(before[name], after[name]), name
    assert not torch.equal(after["query.0.stem.1.running_mean"], after["key.shadow.0.stem.1.running_mean"])
    assert int(stage.pointer) == 2 * 5 * 8 % 16
    torch.testing.assert_close(encoder.backbone["stem.0.weight"], after["query.0.stem.0.weight"])


def test_features_are_trained_on_the_unlabelled_split_too(work):
    splits = ("train",) * 30 + ("test",) * 20 + ("unlabeled",) * 10
    stage = moco(replace(work, images=replace(work.images, splits=splits)))
    assert stage.pool().tolist() == [*range(30), *range(50, 60)]


def test_blur_is_moco_s_own_and_all_else_the_datas(work):
    sharp, blurred = moco(work), moco(work, blur_probability=1.0)
    images = torch.from_numpy(work.images.pixels)[:20]
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    views = [stage.contrastive(images, g) for stage, g in zip((sharp, blurred), generators, strict=True)]
    roughness = [float(view.diff(dim=-1).abs().mean()) for view in views]
    assert roughness[1] < 0.95 * roughness[0]
