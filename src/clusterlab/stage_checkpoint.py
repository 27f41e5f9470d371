"""The checkpoint of a stage that is being trained: written whole, and used only if it is what was written.

PyTorch puts a checksum of every part of the state into the file, and does not look at it when it loads.
"""

import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from clusterlab import stopping
from clusterlab.durable import remove, replacing

log = logging.getLogger(__name__)

CHECKPOINT = "last.ckpt"
"""Of a stage that is in the middle, in its scratch folder."""
STAGE = "stage"


class StageCheckpoint(TorchCheckpointIO):
    """`CHECKPOINT` in the folder of a stage's work, whose name it holds: that of another stage is not taken for it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / CHECKPOINT
        self.stage = folder.name

    def save_checkpoint(self, checkpoint: Mapping[str, Any], path: Any, storage_options: Any = None) -> None:
        """Replace the file at `path`: a kill never leaves half of one."""
        # Through a file of Python's, which says what the disk refused.
        with replacing(Path(path)) as temporary, temporary.open("wb") as file:
            torch.save({**checkpoint, STAGE: self.stage}, file)

    def found(self) -> bool:
        """Return whether there is one to go on with; one that is damaged is removed, with a warning."""
        if not self.path.exists():
            return False
        try:
            self._check()
        except Exception as error:  # whatever the readers make of a damaged archive
            stopping.see_to_it()  # or of a signal
            reason = " ".join(str(error).split()) or type(error).__name__
            log.warning("%s is not what was written (%s): the stage begins anew", self.path, reason)
            remove(self.path)
            return False
        return True

    def _check(self) -> None:
        with zipfile.ZipFile(self.path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"checksum of {damaged}")
        stage = torch.load(self.path, map_location="cpu", mmap=True, weights_only=True).get(STAGE)
        if stage != self.stage:
            raise ValueError(f"it belongs to {stage}")
