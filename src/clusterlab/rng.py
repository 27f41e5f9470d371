"""Every random draw comes from a generator whose seed says what it is for.

A draw belongs to a run's seed, a stage, a purpose and a step. Nothing is carried from step to step, so a run that goes
on from a checkpoint draws what an unbroken one draws, and no state needs to be saved.
"""

import hashlib

import torch


def seed_for(*purpose: int | str) -> int:
    """Return 63 bits that depend on every part of `purpose`."""
    digest = hashlib.blake2b(repr(purpose).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator_for(*purpose: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator on `device` seeded by `purpose`."""
    return torch.Generator(device=device).manual_seed(seed_for(*purpose))
