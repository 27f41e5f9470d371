"""CIFAR-100 with its 20 superclasses as classes, as SCAN, SPICE and others cluster it ("CIFAR-20", "CIFAR100-20").

60,000 images of 32×32 pixels, https://www.cs.toronto.edu/~kriz/cifar.html; five of the 100 classes make a superclass.
"""

from torchvision.datasets import CIFAR100

from clusterlab.data.cifar import Cifar


class Cifar100Superclasses(Cifar):
    """The superclasses are what the official files call coarse labels."""

    published = CIFAR100
    class_folders = "train/SUPERCLASS/*.jpg and test/SUPERCLASS/*.jpg"
    labels_entry = "coarse_labels"
    names_entry = "coarse_label_names"
