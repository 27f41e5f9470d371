import hashlib
from pathlib import Path

PUBLISHED = "fe8959b5f87ec66368fda940dcf709500cbf530debef6b263ed7befa161e91b2"
"""sha256 of the wnids in the file of the authors of SCAN, with a line break between two."""


def test_the_classes_are_those_that_were_published(listed):
    wnids = listed("imagenet100")
    assert len(wnids) == 100
    assert hashlib.sha256("\n".join(wnids).encode()).hexdigest() == PUBLISHED


def test_the_smaller_list_is_part_of_it(listed):
    assert {*listed("imagenet50")} < {*listed("imagenet100")}


def test_it_trains_on_the_training_images_and_scores_on_the_validation_images(
    load, tmp_path: Path, write_classes, listed
):
    write_classes(tmp_path / "root", [*listed("imagenet100"), "n01440764"])
    images = load("imagenet100", root=tmp_path / "root", image_size=8)
    assert images.train_index.tolist() == list(range(200))
    assert images.eval_index.tolist() == list(range(200, 300))
    assert images.sealed_labels is not None
    assert images.sealed_labels.values.tolist()[200:] == list(range(100))
    assert (images.sealed_labels.names[0], images.sealed_labels.names[-1]) == ("robin", "rapeseed")
