"""Numbers and settings in words, for the report."""

from collections.abc import Mapping
from typing import Any

from clusterlab.data.images import ImageSet


def duration(seconds: float) -> str:
    """Return '4.2 s', '3 min 5 s' or '1 h 12 min'."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def percent(share: float) -> str:
    """Return '81.6 %', with a space that does not break."""
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def decimal(value: float) -> str:
    """Return three decimals, with a proper minus, and none before zero."""
    return f"{round(value, 3) + 0.0:.3f}".replace("-", "\N{MINUS SIGN}")


def counted(count: int, noun: str) -> str:
    """Return '1 image' or '1,797 images'."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def short_number(value: float) -> str:
    """Return four significant digits."""
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")


def shortened(text: str, most: int) -> str:
    """Return `text`, of one longer than `most` characters the beginning and, mostly, the end."""
    if len(text) <= most:
        return text
    end = most * 2 // 3
    return f"{text[: most - end - 1]}…{text[-end:]}"


def protocol(images: ImageSet) -> str:
    """Say which images were trained on and which are scored."""
    trained, scored = len(images.train_index), len(images.eval_index)
    unlabelled = images.splits.count("unlabeled")
    rest = f"; the {unlabelled:,} of the unlabeled split are for features only" if unlabelled else ""
    if images.protocol == "split":
        both = f"trained on the {trained:,} images of the train split, scored on the {scored:,} of the test split"
    elif unlabelled:
        both = f"trained and scored on the {scored:,} images of the train and the test split"
    else:
        both = f"trained and scored on all {scored:,} images"
    return both + rest


def kind_of_images(images: ImageSet) -> str:
    """Return '1,797 grey images of 16 × 16 pixels'."""
    colour = "grey" if images.channels == 1 else "colour"
    height, width = images.pixels.shape[2:]
    return f"{len(images):,} {colour} images of {width} × {height} pixels"


def headline(metrics: Mapping[str, Any]) -> tuple[str, str]:
    """Return the result in a sentence, and that of k-means on the same features; empty where there is none."""
    rival = metrics.get("baseline")
    if "acc" in metrics:
        return (
            f"{percent(metrics['acc'])} of the images lie in the cluster of their class.",
            f"{rival['name']}: {percent(rival['acc'])}" if rival else "",
        )
    used = counted(metrics["used_clusters"], "cluster")
    if metrics["silhouette"] is None:
        return f"The images lie in {used}.", ""
    return (
        f"The images lie in {used}, with a silhouette of {decimal(metrics['silhouette'])}.",
        f"{rival['name']}: {decimal(rival['silhouette'])}" if rival and rival["silhouette"] is not None else "",
    )
