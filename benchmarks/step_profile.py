"""What holds a training step back, by torch's profiler: a table, and a sentence."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

STEPS = 3
PRODUCTS = (
    "conv", "gemm", "cutlass", "nvjet", "xmma", "cudnn::engines", "wgrad", "dgrad", "fprop", "bmm", "mkldnn", "::mm",
    "addmm",
)  # fmt: skip
"""Parts of the names of what computes convolutions and matrix products."""
AUGMENTATION = "augmentation"


def profiled(step: Callable[[], None], stage: Any, path: Path) -> str:
    """Write the table of a few steps to `path`, and say in words where the time goes."""
    own = stage.seen

    def noted(*arguments: Any) -> torch.Tensor:
        with record_function(AUGMENTATION):
            images: torch.Tensor = own(*arguments)
        return images

    on_gpu = stage.work.trainer.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    stage.seen = noted
    step()
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    wait()
    with profile(activities=activities, acc_events=True) as found:
        start = time.perf_counter()
        for _ in range(STEPS):
            step()
        wait()
        wall = (time.perf_counter() - start) * 1e6
    stage.seen = own
    averages = found.key_averages()
    kernels = [event for event in averages if event.device_type == DeviceType.CUDA] if on_gpu else list(averages)

    def own_time(event: Any) -> float:
        return event.self_device_time_total if on_gpu else event.self_cpu_time_total

    ranges = [event for event in averages if event.key == AUGMENTATION and event.device_type == DeviceType.CPU]
    augmentation = sum(event.device_time_total if on_gpu else event.cpu_time_total for event in ranges)
    # On a GPU a named range also stands among the kernels, with the time from its first to its last one.
    kernels = [event for event in kernels if event.key != AUGMENTATION]
    busy = sum(map(own_time, kernels))
    products = sum(own_time(event) for event in kernels if any(part in event.key.lower() for part in PRODUCTS))
    order = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    sentence = in_words(
        wall=wall / STEPS, busy=busy / STEPS, products=products / STEPS, augmentation=augmentation / STEPS
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{sentence}\n\n{averages.table(sort_by=order, row_limit=60)}\n", encoding="utf-8")
    return sentence


def in_words(*, wall: float, busy: float, products: float, augmentation: float) -> str:
    """Say what a step's microseconds go to; the kernels of the augmentation hold no products worth the name."""
    others = max(0.0, busy - products - augmentation)
    shares = {
        "convolutions and matrix products": products / wall,
        "augmentation": augmentation / wall,
        "other kernels, which wait for the memory (batch norm, ReLU, optimiser)": others / wall,
        "gaps with no kernel, in which the host is too slow to start one": max(0.0, 1 - busy / wall),
    }
    parts = ", ".join(f"{share:.0%} {name}" for name, share in shares.items())
    most = max(shares, key=lambda name: shares[name])
    return f"{wall / 1000:.1f} ms a step: {parts}. What takes most: {most}."
