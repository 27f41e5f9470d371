"""ImageNet-100: a hundred classes of ImageNet-1k, as in SCAN, https://arxiv.org/abs/2005.12320 (others use others)."""

from clusterlab.data.imagenet import ImageNet


class ImageNet100(ImageNet):
    """About 128,000 training and 5,000 validation images."""

    listed = "imagenet100.txt"
