"""The base of every typed group of settings.

A value lives in one place, the YAML file of its part; these classes hold its type and range and no default.
"""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, field_validator

LARGEST_INT = 2**31 - 1
LARGEST_FLOAT = 1e30
"""In float32, sums and products of what is larger are infinite."""


class Settings(BaseModel):
    """Plain, frozen values: an unknown name, a wrong type, NaN, infinity or an absurdly large number is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    #: Settings that change how fast a result comes, not what it is; they stay out of the artifact's key.
    throughput: ClassVar[frozenset[str]] = frozenset()

    @field_validator("*")
    @classmethod
    def _check_size(cls, value: Any) -> Any:
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int | float):
                largest = LARGEST_FLOAT if isinstance(number, float) else LARGEST_INT
                if abs(number) > largest:
                    raise ValueError(f"it is too large: {largest:g} is the most")
        return value

    def key_values(self) -> dict[str, Any]:
        """What a result depends on, as plain JSON data."""
        return self.model_dump(mode="json", exclude=set(self.throughput))
