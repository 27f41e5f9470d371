import hashlib
from pathlib import Path

PUBLISHED = "92ddae653229210c35136dcce3940440d81613b89a5c2986f081b946b586384f"
"""sha256 of the wnids in the file of the authors of DAC, with a line break between two."""


def test_the_classes_are_those_that_were_published(listed):
    wnids = listed("imagenet10")
    assert len(wnids) == 10
    assert hashlib.sha256("\n".join(wnids).encode()).hexdigest() == PUBLISHED


def test_its_training_images_are_trained_on_and_scored(load, tmp_path: Path, write_classes, listed):
    write_classes(tmp_path / "root", [*listed("imagenet10"), "n01440764"], ("ILSVRC2012_img_train", None))
    images = load("imagenet10", root=tmp_path / "root", image_size=8)
    assert images.splits == ("train",) * 20
    assert images.eval_index.tolist() == images.train_index.tolist() == list(range(20))
    assert images.sealed_labels is not None
    assert images.sealed_labels.values.tolist() == [c for c in range(10) for _ in range(2)]
    assert (images.sealed_labels.names[0], images.sealed_labels.names[-1]) == ("king penguin", "orange")


def test_protocol_split_scores_on_the_validation_images(load, tmp_path: Path, write_classes, listed):
    write_classes(tmp_path / "root", listed("imagenet10"))
    images = load("imagenet10", root=tmp_path / "root", image_size=8, protocol="split", splits=["train", "test"])
    assert images.eval_index.tolist() == list(range(20, 30))
    assert images.sealed_labels.values.tolist()[20:] == list(range(10))
