import hashlib
from pathlib import Path

PUBLISHED = "c37f8cef8968a4e8a49eaddf20c9b110de637a800987531294d9165700647547"
"""sha256 of the wnids in the file of the authors of DAC, with a line break between two."""


def test_the_classes_are_those_that_were_published(listed):
    wnids = listed("imagenet_dogs")
    assert len(wnids) == 15
    assert hashlib.sha256("\n".join(wnids).encode()).hexdigest() == PUBLISHED


def test_its_training_images_are_trained_on_and_scored(load, tmp_path: Path, write_classes, listed):
    write_classes(tmp_path / "root", [*listed("imagenet_dogs"), "n01440764"], ("ILSVRC2012_img_train", None))
    images = load("imagenet_dogs", root=tmp_path / "root", image_size=8)
    assert images.splits == ("train",) * 30
    assert images.eval_index.tolist() == images.train_index.tolist() == list(range(30))
    assert images.sealed_labels is not None
    assert images.sealed_labels.values.tolist() == [c for c in range(15) for _ in range(2)]
    assert (images.sealed_labels.names[0], images.sealed_labels.names[-1]) == ("Maltese dog", "chow")


def test_protocol_split_scores_on_the_validation_images(load, tmp_path: Path, write_classes, listed):
    write_classes(tmp_path / "root", listed("imagenet_dogs"))
    images = load("imagenet_dogs", root=tmp_path / "root", image_size=8, protocol="split", splits=["train", "test"])
    assert images.eval_index.tolist() == list(range(30, 45))
    assert images.sealed_labels.values.tolist()[30:] == list(range(15))
