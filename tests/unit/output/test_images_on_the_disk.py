"""What is written of a set that is larger than the memory: the same, and nothing of an image that is damaged."""

from dataclasses import replace
from pathlib import Path

import pytest
from on_disk import on_disk

from clusterlab.errors import UserError
from clusterlab.output.gallery import cards, picture
from clusterlab.output.map_data import map_view
from clusterlab.output.pictures import overview
from clusterlab.output.prototypes import choose, find_prototypes
from clusterlab.output.table import tabulate
from clusterlab.output.weights_and_biases import _least_sure
from clusterlab.output.write import write_outputs

READERS = {
    "cards": lambda run, table: cards(run.images, table, run.num_clusters, None),
    "pictures": lambda run, table: picture(run.images, [0, 1], columns=2),
    "overview": lambda run, table: overview(run.images.pixels, [(0, [3])]),
    "map": map_view,
    "dashboard": lambda run, table: _least_sure(run, table.margin.tolist()),
}


@pytest.fixture
def stored(make_run, tmp_path: Path):
    run = make_run()
    return replace(run, images=replace(run.images, pixels=on_disk(run.images.pixels, tmp_path / "images.npy")))


def test_the_outputs_are_those_of_the_same_images_in_memory(make_run, stored, tmp_path: Path):
    held = make_run()
    folders = tmp_path / "held", tmp_path / "stored"
    for run, folder in zip((held, stored), folders, strict=True):
        write_outputs(run, folder)
    names = {path.relative_to(folders[0]) for path in folders[0].rglob("*") if path.is_file()}
    assert len(names) == 10
    for name in names:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


@pytest.mark.parametrize("reader", READERS)
def test_no_damaged_image_is_shown(stored, reader):
    choice = choose(stored.assignments.probs)
    prototypes = find_prototypes(stored.assignments.embeddings, choice, stored.num_clusters)
    table = tabulate(stored.images, stored.assignments, choice, prototypes, None, {})
    path = stored.images.pixels.path
    path.write_bytes(bytes(255 - value for value in path.read_bytes()))
    with pytest.raises(UserError, match=r"images\.npy is damaged: image \d+ is not what was written"):
        READERS[reader](stored, table)
