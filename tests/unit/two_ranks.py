"""Runs a function in two processes that train together, over gloo on the CPU."""

import socket
from collections.abc import Callable
from multiprocessing import get_context
from typing import Any

import torch


def on_two_ranks(function: Callable[[int], Any]) -> list[Any]:
    """Return what `function(rank)`, a function of a module, returns on rank 0 and 1: plain, picklable values."""
    context = get_context("spawn")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    with context.Manager() as manager:
        results = manager.dict()
        processes = [context.Process(target=_run, args=(function, rank, port, results)) for rank in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(timeout=120)
        assert sorted(results.keys()) == [0, 1], "a rank failed: its traceback stands above"
        return [results[rank] for rank in range(2)]


def _run(function: Callable[[int], Any], rank: int, port: int, results: Any) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        results[rank] = function(rank)
    finally:
        torch.distributed.destroy_process_group()
