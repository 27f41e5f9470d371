"""Features that somebody else trained: the weights of a network of timm or torchvision, from a file or fetched.

The network is the run's backbone (`models/backbones/library.py`). Every image passes it once, for the embeddings;
heads that leave it as it is are trained on what came out.
"""

import logging
from pathlib import Path
from typing import Any, ClassVar

from clusterlab.artifacts import Encoder
from clusterlab.errors import UserError
from clusterlab.models.backbones.library import Library, LibrarySettings
from clusterlab.models.checkpoints import architecture_of, files_of
from clusterlab.models.libraries import expected, find_model
from clusterlab.models.sides import advice, see_side
from clusterlab.models.weights import load_weights, weights_name
from clusterlab.stage import PartSettings, Stage, Work

log = logging.getLogger(__name__)

SMALL = 0.5
"""Share of the side that a network was trained with, below which its features are worth a warning."""


class PretrainedSettings(PartSettings):
    """`model`: a short name, timm/NAME or torchvision/NAME."""

    model: str | None
    checkpoint: str | None
    """File or folder with the weights; null: the published ones."""

    def key_values(self) -> dict[str, Any]:
        """Return the weights' checksum in the place of their path: the same weights elsewhere are the same."""
        weights = weights_name(find_model(self.model), self.checkpoint)
        return {"name": self.name, "model": self.model, "weights": weights}


class Pretrained(Stage):
    """Loads weights into the run's backbone."""

    Settings: ClassVar[type[PartSettings]] = PretrainedSettings
    produces = Encoder
    uses_network = True

    @classmethod
    def check(cls, settings: Any, *, has_own_network: bool) -> None:
        """See that there is such a network and, where a path is given, that something lies there."""
        path = None if settings.checkpoint is None else Path(settings.checkpoint)
        if settings.model is None and path is not None and (named := architecture_of(path)):
            raise UserError(f"{path / 'config.json'} says {named}: add features.model=timm/{named}")
        find_model(settings.model)
        if path is not None:
            files_of(path)

    def __init__(self, *, settings: PretrainedSettings, work: Work) -> None:
        self.settings = settings
        self.work = work

    def run(self) -> Encoder:
        """Return the weights, once a first image has passed the network.

        Raises:
            UserError: there are none, they do not fit, or the network does not take images of this size.
        """
        backbone, network = self.work.network.build(), self.work.network.settings
        if not isinstance(backbone, Library) or not isinstance(network, LibrarySettings):
            raise UserError(
                f"features=pretrained brings a network of its own, but backbone={network.name}: add backbone=library"
            )
        if network.model != self.settings.model:
            raise UserError(
                f"backbone.model={network.model} and features.model={self.settings.model} differ: leave out the first"
            )
        views = self.work.data.views.size
        side = network.input_size or views
        assert side is not None
        assert views is not None
        see_side(backbone, network.name, channels=self.work.images.channels, views=views, bf16_on_cpu=False)
        self._warn_of_size(backbone, side)
        state = load_weights(backbone.model, backbone.network, self.settings.checkpoint, side=side)
        backbone.network.load_state_dict(state)
        return Encoder(backbone=dict(backbone.state_dict()), projection={})

    def _warn_of_size(self, backbone: Library, side: int) -> None:
        usual = expected(backbone.model)
        if side < SMALL * usual.side:
            log.warning(
                "features.model=%s was trained on images of %d pixels and gets %d: for better features add %s",
                self.settings.model, usual.side, side, advice(backbone),
            )  # fmt: skip
