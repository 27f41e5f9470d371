import hashlib
from pathlib import Path

PUBLISHED = "ac8134b3c52e7579be212659e3c9d22131e0a655d237b7aa7016ea6a88c12b12"
"""sha256 of the wnids in the file of the authors of SCAN, with a line break between two."""


def test_the_classes_are_those_that_were_published(listed):
    wnids = listed("imagenet50")
    assert len(wnids) == 50
    assert hashlib.sha256("\n".join(wnids).encode()).hexdigest() == PUBLISHED


def test_it_trains_on_the_training_images_and_scores_on_the_validation_images(
    load, tmp_path: Path, write_classes, listed
):
    write_classes(tmp_path / "root", [*listed("imagenet50"), "n01440764"])
    images = load("imagenet50", root=tmp_path / "root", image_size=8)
    assert images.train_index.tolist() == list(range(100))
    assert images.eval_index.tolist() == list(range(100, 150))
    assert images.sealed_labels is not None
    assert images.sealed_labels.values.tolist()[100:] == list(range(50))
    assert (images.sealed_labels.names[0], images.sealed_labels.names[-1]) == ("water ouzel", "banana")
