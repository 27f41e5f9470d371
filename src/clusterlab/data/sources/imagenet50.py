"""ImageNet-50: fifty classes of ImageNet-1k, as in SCAN, https://arxiv.org/abs/2005.12320."""

from clusterlab.data.imagenet import ImageNet


class ImageNet50(ImageNet):
    """About 64,000 training and 2,500 validation images."""

    listed = "imagenet50.txt"
