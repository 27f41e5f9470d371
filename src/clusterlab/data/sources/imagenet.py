"""ImageNet-1k: the thousand classes of ILSVRC 2012, https://image-net.org."""

from clusterlab.data.imagenet import ImageNet


class ImageNet1k(ImageNet):
    """1,281,167 training and 50,000 validation images."""
