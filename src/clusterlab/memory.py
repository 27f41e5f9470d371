"""Tells an error for want of memory from the others that torch raises."""

import torch

NO_ROOM = ("not enough memory", "can't allocate memory")
"""What torch says in a RuntimeError where the machine's memory is used up."""


def out_of_memory(error: Exception) -> bool:
    """Return whether `error` is one for want of memory, of the machine or of a GPU."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in str(error) for words in NO_ROOM)
