"""The one door through which labels leave the data.

Training must never see a class. So the images carry their labels sealed, this function is the only reader of
them, and only scoring and output import it (`tests/architecture/test_labels_stay_sealed.py`).
"""

from clusterlab.data.images import ImageSet, Labels


def true_labels(images: ImageSet) -> Labels | None:
    """The true classes of `images`, or None where not one of them is known."""
    labels = images.sealed_labels
    if labels is None or bool((labels.values < 0).all()):
        return None
    return labels
