"""ImageNet-Dogs: fifteen breeds of ImageNet-1k (J. Chang et al.: Deep Adaptive Image Clustering, ICCV 2017)."""

from clusterlab.data.imagenet import ImageNet


class ImageNetDogs(ImageNet):
    """19,500 training and 750 validation images."""

    listed = "imagenet_dogs.txt"
