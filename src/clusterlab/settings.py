"""The base of every typed group of settings.

A value lives in one place, the YAML file of its part; these classes hold its type and range and no default.
"""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Plain, frozen values: an unknown name, a wrong type, NaN or infinity is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    #: Settings that change how fast a result comes, not what it is; they stay out of the artifact's key.
    throughput: ClassVar[frozenset[str]] = frozenset()

    def key_values(self) -> dict[str, Any]:
        """What a result depends on, as plain JSON data."""
        return self.model_dump(mode="json", exclude=set(self.throughput))
