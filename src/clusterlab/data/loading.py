"""What all sources do alike once they know their images: check, select, decode, tell what is left out."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clusterlab.data.images import ImageSet, Labels, Split
from clusterlab.data.originals import Originals
from clusterlab.data.sources.base import SourceSettings
from clusterlab.data.store import decode_once
from clusterlab.data.subset import subset
from clusterlab.errors import UserError

_log = logging.getLogger(__name__)

NUM_NAMED = 3
"""Unreadable files that the warning names; all are in `ImageSet.unreadable`."""


def load_images(originals: Originals, settings: SourceSettings, store_dir: Path) -> ImageSet:
    """Return the image set of `originals`, as `settings` want it.

    Raises:
        UserError: the protocol needs a split that is empty, mean or std do not suit the channels, or no image
            can be decoded.
    """
    _check_channel_figures(settings, originals.shape[0])
    _check_protocol(originals, originals.splits, settings)
    chosen = subset(originals.splits, settings.limit)
    stored = decode_once(originals, chosen, store_dir=store_dir, memory_limit=settings.memory_limit)
    unreadable = originals.skipped + stored.unreadable
    if unreadable:
        named = ", ".join(f"{name} ({reason})" for name, reason in unreadable[:NUM_NAMED])
        more = f", and {len(unreadable) - NUM_NAMED} more" if len(unreadable) > NUM_NAMED else ""
        _log.warning(
            "%s: %s left out: %s%s",
            originals.where,
            "1 file cannot be read and is"
            if len(unreadable) == 1
            else f"{len(unreadable)} files cannot be read and are",
            named,
            more,
        )
    _check_protocol(originals, stored.splits, settings)
    return ImageSet(
        pixels=stored.pixels,
        ids=stored.ids,
        splits=stored.splits,
        protocol=settings.protocol,
        fingerprint=stored.fingerprint,
        unreadable=unreadable,
        sealed_labels=_labels(originals, stored.ids) if settings.labels == "auto" else None,
    )


def existing_root(settings: SourceSettings, holds: str) -> Path:
    """Return `data.root` as a path that exists; `holds` says what it should be, for the message.

    Raises:
        UserError: it is not set, or there is nothing.
    """
    if settings.root is None:
        raise UserError(f"data={settings.name} needs data.root=PATH: {holds}")
    root = Path(settings.root).expanduser()
    if not root.exists():
        raise UserError(f"data.root={settings.root} does not exist; data={settings.name} needs data.root=PATH: {holds}")
    return root


def _labels(originals: Originals, ids: Sequence[str]) -> Labels | None:
    if originals.labels is None:
        return None
    # Both are in the same order, and a dictionary of all ids would take more memory than they do.
    known = enumerate(originals.ids)
    rows = np.fromiter((next(i for i, name in known if name == wanted) for wanted in ids), dtype=np.int64)
    return Labels(values=originals.labels.values[rows], names=originals.labels.names)


def _check_protocol(originals: Originals, splits: Sequence[Split], settings: SourceSettings) -> None:
    missing = [name for name in ("train", "test") if name not in splits]
    if settings.protocol == "split" and missing:
        raise UserError(
            f"{originals.where} has no {missing[0]} split ({originals.split_rule}), and data.protocol=split "
            "needs it: use data.protocol=all"
        )


def _check_channel_figures(settings: SourceSettings, channels: int) -> None:
    for name, figures in (("mean", settings.mean), ("std", settings.std)):
        if len(figures) not in (1, channels):
            given, example = list(figures), [0.5] * channels
            raise UserError(
                f"data.{name}={given} has {len(figures)} entries for images of {channels} channels: "
                f"give 1 or {channels}, such as 'data.{name}={example}'"
            )
