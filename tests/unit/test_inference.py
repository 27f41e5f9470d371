import os
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from clusterlab.data.datamodule import Pixels
from clusterlab.errors import UserError
from clusterlab.inference import Rows, assign, evaluating, network_of, over_images, room
from clusterlab.models.classifier import Classifier


def network(work, **changes):
    torch.manual_seed(2)
    made = Classifier(backbone=work.network.build(), **({"clusters": 4} | changes))
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_()
    return made


def test_assignments_are_those_of_the_plain_images_in_eval_mode(work):
    made = network(work).train()
    pixels = Pixels(work.images, torch.device("cpu"))
    found = assign(made, work, pixels)
    assert made.training
    with torch.no_grad():
        features = made.eval().backbone(work.view("plain")(pixels.take(torch.arange(60)), torch.Generator()))
    torch.testing.assert_close(found.probs, made.classify(features)[0].softmax(dim=1).detach())
    torch.testing.assert_close(found.embeddings.float(), F.normalize(features, dim=1), atol=1e-3, rtol=0)


def test_the_network_of_assignments_is_the_one_that_gave_them(work):
    groups = torch.tensor([3, 0, 0, 1, 3, 1])  # cluster 2 has no class
    for changes in ({}, {"hidden": 5}, {"normalise": True}, {"groups": groups}, {"groups": groups, "hidden": 5}):
        made = network(work, **changes)
        pixels = Pixels(work.images, torch.device("cpu"))
        found = assign(made, work, pixels)
        again = network_of(found, work)
        assert again.state_dict().keys() == made.state_dict().keys()
        assert (again.groups is None) == ("groups" not in changes)
        torch.testing.assert_close(assign(again, work, pixels).probs, found.probs, rtol=0, atol=0)


def test_a_network_is_put_back_into_the_mode_that_it_was_in(work):
    made = network(work)
    for mode in (True, False):
        made.train(mode)
        with evaluating(made):
            assert not any(module.training for module in made.modules())
        assert made.training == mode
        assert made.backbone.training == mode


def limited(work, gib):
    return replace(work, data=work.data.model_copy(update={"memory_limit": gib}))


def features_of(made, work, pixels, index):
    def forward(images):
        return made.backbone(images), images.amax(dim=(1, 2, 3))

    return over_images(made, work, index, pixels=pixels, forward=forward, title="stage")


def test_results_come_in_the_order_of_the_index_whatever_the_batch(work):
    made, pixels = network(work), Pixels(work.images, torch.device("cpu"))
    index = torch.randperm(60, generator=torch.Generator().manual_seed(0))[:37]
    features, brightest = features_of(made, work, pixels, index)
    with torch.no_grad():
        images = work.view("plain")(pixels.take(index), torch.Generator())
        torch.testing.assert_close(features, made.eval().backbone(images))
    assert torch.equal(brightest, images.amax(dim=(1, 2, 3)))


def test_what_is_larger_than_the_memory_limit_lies_in_a_file_that_goes_with_it(work):
    made, pixels = network(work), Pixels(work.images, torch.device("cpu"))
    inside = features_of(made, work, pixels, torch.arange(60))
    outside = features_of(made, limited(work, 1e-9), pixels, torch.arange(60))
    assert all(torch.equal(one, other) for one, other in zip(inside, outside, strict=True))
    assert [str(work.folder) in mapped_files(values) for values in (*inside, *outside)] == [False] * 2 + [True] * 2
    assert list(work.folder.iterdir()) == []


def mapped_files(values):
    """The line of the process's memory map in which the values lie."""
    place = values.untyped_storage().data_ptr()
    with open("/proc/self/maps") as maps:
        for line in maps:
            start, end = (int(word, 16) for word in line.split()[0].split("-"))
            if start <= place < end:
                return line
    raise AssertionError


@pytest.mark.parametrize(("dtype", "shape"), [(torch.float16, (7, 3)), (torch.int64, (5,)), (torch.float32, (2, 3, 4))])
def test_room_beyond_the_limit_is_written_to_like_any_other(work, dtype, shape):
    values = torch.arange(torch.Size(shape).numel()).view(shape).to(dtype)
    for gib in (1.0, 1e-9):
        made = room(limited(work, gib), shape, dtype)
        made[...] = values
        assert torch.equal(made, values)


def test_a_full_disk_is_one_line_and_not_the_end_of_the_process(work, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match=r"has no room for 0.0 GiB \(No space left on device\): free some"):
        room(limited(work, 1e-9), (10,), torch.float32)


@pytest.mark.parametrize("gib", [1.0, 1e-9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_rows_are_taken_by_sample_index_as_float32(work, gib, dtype):
    values = torch.rand(60, 5).to(dtype)
    index = torch.tensor([3, 59, 3])
    taken = Rows(values, limited(work, gib)).take(index)
    assert taken.dtype == torch.float32
    assert torch.equal(taken, values[index].float())


@pytest.mark.parametrize("changes", [{}, {"hidden": 5}, {"normalise": True}])
def test_assignments_from_features_are_those_from_images(work, changes):
    made, pixels = network(work, **changes), Pixels(work.images, torch.device("cpu"))
    features, _ = features_of(made, work, pixels, torch.arange(60))
    found, wanted = assign(made, work, pixels, Rows(features, work)), assign(made, work, pixels)
    assert torch.equal(found.probs, wanted.probs)
    assert torch.equal(found.embeddings, wanted.embeddings)
