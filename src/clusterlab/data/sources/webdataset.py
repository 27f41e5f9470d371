"""Images in WebDataset shards: tar files of samples, https://github.com/webdataset/webdataset."""

import json
import logging
import os
import re
from collections import Counter
from pathlib import Path

import numpy as np

from clusterlab.data.classes import from_names, from_numbers
from clusterlab.data.images import ImageSet, Labels
from clusterlab.data.loading import existing_root, load_images
from clusterlab.data.originals import Originals, stamp_of
from clusterlab.data.shards import Sample, decode, expand, read_bytes, read_samples, shards_below, splits_of
from clusterlab.data.sources.base import Source, SourceSettings
from clusterlab.errors import UserError

_log = logging.getLogger(__name__)

HOLDS = "a folder with *.tar, one tar file, or a name with braces such as shards/{000000..000009}.tar"
JSON = "json."
MAX_LABEL_BYTES = 2**20
WHOLE_NUMBER = re.compile(r"[+-]?\d{1,18}", re.ASCII)

Found = tuple[Path, Sample]


class WebDatasetSettings(SourceSettings):
    """Adds where the label of a sample stands."""

    label_key: str
    """The extension of a text file with the class, such as cls, or json.FIELD: that field of the sample's json."""


class WebDataset(Source):
    """Every sample that has an image, in the order of the shards and within them.

    A sample is known by its key, or where two shards have the same key, by that of its shard and its own.
    """

    Settings = WebDatasetSettings
    settings: WebDatasetSettings

    def load(self, store_dir: Path) -> ImageSet:
        """Scan the shards' headers and decode the images, or take those from the store."""
        shards, base = self._shards()
        names = [shard.relative_to(base).with_suffix("").as_posix() for shard in shards]
        found: list[Found] = []
        ids: list[str] = []
        skipped: list[tuple[str, str]] = []
        counts: list[int] = []
        for shard, name in zip(shards, names, strict=True):
            samples, passed_over = read_samples(shard, "json" if self._in_json else self.settings.label_key)
            found += [(shard, sample) for sample in samples]
            ids += [f"{name}/{sample.key}" for sample in samples]
            skipped += [(f"{name}/{path}", reason) for path, reason in passed_over]
            counts.append(len(samples))
        keys = [sample.key for _, sample in found]
        if not found:
            raise UserError(f"data.root={self.settings.root} has no sample with an image: see that files are KEY.jpg")
        if len({*keys}) == len(keys):
            ids = keys
        _check_unique(ids)
        several = sum(sample.num_images > 1 for _, sample in found)
        if several:
            _log.info("%d samples have several images; the first of each is taken", several)
        labels = self._labels(found) if self.settings.labels == "auto" else None
        _log.info(
            "%s: %d images in %d shards, %s", base, len(found), len(shards),
            "no labels" if labels is None else f"labels of {len(labels.names)} classes, for scoring only",
        )  # fmt: skip
        size = self.settings.image_size
        images = [(shard, sample.image) for shard, sample in found]
        stamps = {shard: stamp_of(shard.stat(), name) for shard, name in zip(shards, names, strict=True)}
        splits = zip(splits_of(names), counts, strict=True)
        originals = Originals(
            where=str(self.settings.root),
            ids=tuple(ids),
            splits=tuple(split for split, count in splits for _ in range(count)),
            split_rule="splits are told apart if every shard has train, test or val in its name or folder",
            stamps=tuple((*stamps[shard], *span) for shard, span in images),
            shape=(3, size, size),
            read=lambda i: decode(*images[i], size),
            labels=labels,
            skipped=tuple(skipped),
        )
        return load_images(originals, self.settings, store_dir)

    @property
    def _in_json(self) -> bool:
        return self.settings.label_key.startswith(JSON)

    def _shards(self) -> tuple[list[Path], Path]:
        """Return the shards, and the folder below which their paths are their names."""
        pattern = self.settings.root
        if pattern is not None and "{" in pattern:
            shards = expand(pattern)
            return shards, Path(os.path.commonpath([shard.parent for shard in shards]))
        root = existing_root(self.settings, HOLDS)
        return (shards_below(root), root) if root.is_dir() else ([root], root.parent)

    def _labels(self, found: list[Found]) -> Labels | None:
        values = [self._label(shard, sample) for shard, sample in found]
        known = [value for value in values if value is not None]
        if not known:
            return None
        if all(WHOLE_NUMBER.fullmatch(value) for value in known):
            return from_numbers(np.array([-1 if value is None else int(value) for value in values], dtype=np.int64))
        return from_names(values)

    def _label(self, shard: Path, sample: Sample) -> str | None:
        """Return the label as text, or None if the sample has none."""
        if sample.label is None:
            return None
        try:
            if sample.label.size > MAX_LABEL_BYTES:
                raise ValueError(f"it has {sample.label.size} bytes")
            text = read_bytes(shard, sample.label).decode("utf-8")
            return _field(text, self.settings.label_key.removeprefix(JSON)) if self._in_json else text.strip() or None
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(
                f"{shard}: the label of {sample.key} cannot be read ({error}): set data.label_key to the extension of "
                "a text file or to json.FIELD, or data.labels=none"
            ) from error


def _field(text: str, name: str) -> str | None:
    content = json.loads(text)
    value = content.get(name) if isinstance(content, dict) else None
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | str)):
        raise ValueError(f"the field {name} is neither a whole number nor text")
    return None if value is None else str(value)


def _check_unique(ids: list[str]) -> None:
    name, count = Counter(ids).most_common(1)[0]
    if count > 1:
        raise UserError(
            f"{count} samples have the key {name}: give each sample of a shard a key of its own, and the files of one "
            "sample places next to each other"
        )
