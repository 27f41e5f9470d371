"""Every random draw comes from a generator whose seed says what it is for.

A draw belongs to a run's seed, a stage, a purpose and a step. Nothing is carried from step to step, so a run that goes
on from a checkpoint draws what an unbroken one draws, and no state needs to be saved.
"""

import hashlib

import torch
from torch import Tensor


def seed_for(*purpose: int | str) -> int:
    """Return 63 bits that depend on every part of `purpose`."""
    digest = hashlib.blake2b(repr(purpose).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator_for(*purpose: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator on `device` seeded by `purpose`."""
    return torch.Generator(device=device).manual_seed(seed_for(*purpose))


class ShareOfDraws(torch.Generator):
    """Goes on from `generator`; draws for a batch of `count` rows and hands out those of `rows`.

    So a process with a share of the batch draws for each of its rows what one with the whole batch draws for it.
    """

    count: int
    rows: slice | Tensor

    def __new__(cls, generator: torch.Generator) -> "ShareOfDraws":
        """Live on the device of `generator`."""
        return super().__new__(cls, device=generator.device)  # type: ignore[call-arg]

    def __init__(self, generator: torch.Generator) -> None:
        self.set_state(generator.get_state())

    def hand_out(self, rows: slice | Tensor, count: int) -> "ShareOfDraws":
        """Hand out these rows of `count` from now on."""
        self.rows, self.count = rows, count
        return self


def rand(generator: torch.Generator, shape: tuple[int, ...]) -> Tensor:
    """Uniform in [0, 1), float32 on the generator's device; the first dimension is that of the batch."""
    if isinstance(generator, ShareOfDraws):
        return torch.rand((generator.count, *shape[1:]), generator=generator, device=generator.device)[generator.rows]
    return torch.rand(shape, generator=generator, device=generator.device)


def randint(generator: torch.Generator, bound: int, shape: tuple[int, ...]) -> Tensor:
    """Uniform among 0, 1, …, bound − 1, int64 on the generator's device; the first dimension is that of the batch."""
    if isinstance(generator, ShareOfDraws):
        whole = (generator.count, *shape[1:])
        return torch.randint(bound, whole, generator=generator, device=generator.device)[generator.rows]
    return torch.randint(bound, shape, generator=generator, device=generator.device)
