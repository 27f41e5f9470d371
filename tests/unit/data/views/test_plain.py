import pytest
import torch
from torchvision import transforms

from clusterlab.data.views import Plain

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


@pytest.mark.parametrize(("stored", "size"), [(32, 32), (32, 24), (33, 32), (36, 17)])
def test_it_is_torchvisions_evaluation_transform(stored, size, photographs, generator):
    images = photographs(10, stored)
    steps = [transforms.ToPILImage(), transforms.CenterCrop(size), transforms.ToTensor()]
    evaluate = transforms.Compose([*steps, transforms.Normalize(MEAN, STD)])
    theirs = torch.stack([evaluate(image) for image in images])
    assert torch.allclose(Plain(size=size, mean=MEAN, std=STD)(images, generator), theirs, atol=1e-5)


def test_nothing_is_drawn(photographs, generator):
    state = generator.get_state()
    Plain(size=16, mean=MEAN, std=STD)(photographs(5, 32), generator)
    assert torch.equal(generator.get_state(), state)


def test_the_levels_come_back_when_normalisation_is_undone(photographs, generator):
    images = photographs(10, 32)
    views = Plain(size=None, mean=MEAN, std=STD)(images, generator)
    back = (views * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]) * 255
    assert torch.equal(back.round().byte(), images)
