"""Makes networks from their settings."""

from dataclasses import dataclass

from clusterlab.models.backbones.base import Backbone, BackboneSettings


@dataclass(frozen=True)
class NetworkSpec:
    """A backbone's class, its settings and the channels of its images: enough to build it."""

    backbone: type[Backbone]
    settings: BackboneSettings
    channels: int

    def build(self) -> Backbone:
        """Return a freshly initialised backbone; draws from torch's global generator."""
        return self.backbone(settings=self.settings, channels=self.channels)
