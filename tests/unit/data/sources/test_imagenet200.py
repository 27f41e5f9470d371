import hashlib
from pathlib import Path

PUBLISHED = "fca8e3dd52db9f95c98c130957301a4061f562004d760a4c41b050909b5dfceb"
"""sha256 of the wnids in the file of the authors of SCAN, with a line break between two."""


def test_the_classes_are_those_that_were_published(listed):
    wnids = listed("imagenet200")
    assert len(wnids) == 200
    assert hashlib.sha256("\n".join(wnids).encode()).hexdigest() == PUBLISHED


def test_the_smaller_list_is_part_of_it(listed):
    assert {*listed("imagenet100")} < {*listed("imagenet200")}


def test_it_trains_on_the_training_images_and_scores_on_the_validation_images(
    load, tmp_path: Path, write_classes, listed
):
    write_classes(tmp_path / "root", [*listed("imagenet200"), "n01440764"])
    images = load("imagenet200", root=tmp_path / "root", image_size=8)
    assert images.train_index.tolist() == list(range(400))
    assert images.eval_index.tolist() == list(range(400, 600))
    assert images.sealed_labels is not None
    assert images.sealed_labels.values.tolist()[400:] == list(range(200))
    assert (images.sealed_labels.names[0], images.sealed_labels.names[-1]) == ("goldfish", "rapeseed")
