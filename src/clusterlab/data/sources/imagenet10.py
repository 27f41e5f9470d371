"""ImageNet-10: ten classes of ImageNet-1k (J. Chang et al.: Deep Adaptive Image Clustering, ICCV 2017)."""

from clusterlab.data.imagenet import ImageNet


class ImageNet10(ImageNet):
    """13,000 training and 500 validation images."""

    listed = "imagenet10.txt"
