"""The device that a run uses: its choice, compute type, memory and peak rate.

FLOP rates are dense tensor-core rates of the vendor's data sheets; for a CPU the rate of a float32
product is measured, so that the MFU means "of what this machine's matmul reaches".
"""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from typing import Any

import torch

from nanotrain.errors import RunError

# Dense bf16 (and fp16) rates in FLOP/s by a part of the device's name, more special names first.
_PEAKS = (
    ("b300", 2.25e15),
    ("b200", 2.25e15),
    ("h200", 989e12),
    ("h100 nvl", 835e12),
    ("h100 pcie", 756e12),
    ("h100", 989e12),
    ("h800", 989e12),
    ("a100", 312e12),
    ("a800", 312e12),
    ("l40s", 362e12),
    ("l40", 181e12),
    ("l4", 121e12),
    ("a10g", 70e12),
    ("a10", 125e12),
    ("rtx 5090", 209.5e12),
    ("rtx 4090", 165.2e12),
    ("rtx 3090", 71e12),
    ("v100", 125e12),
    ("t4", 65e12),
)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose(wanted: str, *, local_rank: int = 0) -> torch.device:
    """The device of a process.

    Args:
        wanted: auto, cpu, mps, cuda or cuda:N; auto takes CUDA, then the CPU.
        local_rank: Number of this process on its machine; "cuda" becomes this device.

    Raises:
        RunError: If the machine has no such device.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = wanted.partition(":")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise RunError("device mps is asked for, this machine has none", "use `--train.device cpu`")
    if kind != "cuda":
        return torch.device(kind)
    number, found = int(index or local_rank), torch.cuda.device_count()
    if number >= found:
        raise RunError(
            f"GPU cuda:{number} is asked for, this machine has {found} GPU{'s'[: found != 1]}",
            "use `--train.device cpu`" if not found else None,
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def compute_dtype(device: torch.device) -> str:
    """The compute type for `train.dtype auto`: bf16 where tensor cores know it, else fp32."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
        return "bf16"
    return "fp32"


def describe(device: torch.device) -> str:
    """The device's name for people."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{_cpu_name()}, {torch.get_num_threads()} thread{'s'[: torch.get_num_threads() != 1]}"


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - not a path of ours
            names = [line.partition(":")[2].strip() for line in file if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def machine(device: torch.device) -> dict[str, Any]:
    """What a run's record says about the machine."""
    facts: dict[str, Any] = {
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cpu_cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": describe(device),
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        facts["memory_mib"] = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    if device.type == "cuda":
        facts["gpu_memory_mib"] = torch.cuda.get_device_properties(device).total_memory >> 20
        facts["compute_capability"] = ".".join(map(str, torch.cuda.get_device_capability(device)))
    return facts


def peak_flops(device: torch.device, dtype: str) -> float | None:
    """The device's peak rate in FLOP/s for the compute type; None if it is not known."""
    if device.type == "cuda":
        name = str(torch.cuda.get_device_name(device)).lower()
        peak = next((rate for part, rate in _PEAKS if part in name), None)
        # TF32 runs at half the rate, and full float32 far below; MFU is judged against TF32.
        return peak / 2 if peak and dtype == "fp32" else peak
    if device.type == "cpu":
        return _measured_cpu_flops()
    return None


def _measured_cpu_flops(size: int = 512, seconds: float = 0.1) -> float:
    """The best rate of many short float32 products: a busy machine too has a quiet millisecond."""
    a, best = torch.ones(size, size), 0.0
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        torch.mm(a, a)
        best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


def peak_mib(device: torch.device) -> float:
    """Most memory used so far: allocated on the GPU, or of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def synchronize(device: torch.device) -> None:
    """Waits until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
