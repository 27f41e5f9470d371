"""ImageNet-200: two hundred classes of ImageNet-1k, as in SCAN, https://arxiv.org/abs/2005.12320."""

from clusterlab.data.imagenet import ImageNet


class ImageNet200(ImageNet):
    """About 256,000 training and 10,000 validation images."""

    listed = "imagenet200.txt"
