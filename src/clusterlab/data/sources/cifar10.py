"""CIFAR-10: 60,000 images of 32×32 pixels in ten classes, https://www.cs.toronto.edu/~kriz/cifar.html."""

from torchvision.datasets import CIFAR10

from clusterlab.data.cifar import Cifar


class Cifar10(Cifar):
    """The ten classes."""

    published = CIFAR10
    labels_entry = "labels"
    names_entry = "label_names"
