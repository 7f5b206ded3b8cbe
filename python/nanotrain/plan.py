"""What a configuration costs before it runs: parameters, FLOPs, memory and time.

The model is built on the meta device, which allocates nothing. Memory and time are predictions:
memory from the tensors that a step holds at its fullest, time from the machine's matmul rate and
the share of it that training has been seen to reach.
"""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import dataclass

import torch

from nanotrain import device as devices
from nanotrain import models
from nanotrain.accounting import has_value_embedding, padded
from nanotrain.config import Resolved

_MIB = 2**20
# Largest share of the memory that a plan may fill; the rest is the system's and fragments.
_USABLE = 0.95
# Share of the matmul peak: nanochat at depth 12 reaches 42 % on an H100 (989 TFLOP/s); a CPU,
# where elementwise work costs relatively less, 55 % of its measured float32 products.
_MFU = {"cuda": 0.42, "cpu": 0.55, "mps": 0.3}
# Python and dispatch per layer of a micro-batch, forward and backward, in seconds.
_LAYER_OVERHEAD = 1.5e-3
# A rate for devices that are in no table, in FLOP/s.
_UNKNOWN_PEAK = 1e14


@dataclass(frozen=True)
class Plan:
    """The figures of a run, predicted.

    Attributes:
        params: Parameters, padding rows of the token tables included.
        scaling_params: Block matrices and head.
        flops_per_token: Of a training step.
        tokens: steps x batch_tokens.
        peak_mib: Of the GPU; on a CPU of the whole process.
        memory_mib: What the device has.
        seconds: Training, without evaluations and start.
        fits: Whether the peak is within 95 % of the device's memory.
        device: Type of the device that the plan is for.
    """

    params: int
    scaling_params: int
    flops_per_token: int
    tokens: int
    steps: int
    batch_tokens: int
    lr_multiplier: float
    weight_decay: float
    total_flops: int
    peak_mib: float
    memory_mib: float
    seconds: float
    fits: bool
    device: str
    resolved: Resolved
    processes: int

    def as_dict(self) -> dict[str, int | float | bool | str]:
        """The figures under the names that `plan --json` prints."""
        return {
            name: getattr(self, name) for name in self.__dataclass_fields__ if name != "resolved"
        }

    def lines(self) -> list[str]:
        """The plan for people: model, plan, auto and what is worth a warning."""
        config = self.resolved
        rows = config.train.micro_rows
        micro = self.batch_tokens // (rows * config.data.row_tokens)
        peak, memory = _gib(self.peak_mib), _gib(self.memory_mib)
        flops = f"{self.total_flops:.1e}".replace("e+", "e")
        name = f"{config.model.family} d{config.model.depth}"
        if config.model.family == "mlp":
            name = f"mlp over {config.model.context} ids"
        found = [
            f"model    {name}   {self.params / 1e6:.1f} M parameters"
            f" ({self.scaling_params / 1e6:.1f} M scaling)"
            f"   {self.flops_per_token / 1e9:.3f} GFLOP/token",
            f"plan     {_count(self.tokens)} tokens = {self.steps:,} steps x {self.batch_tokens:,}"
            f"   ({micro} x {rows} rows x {config.data.row_tokens:,})"
            f"   {flops} FLOPs   ~{_duration(self.seconds)}"
            f"   ~{peak} GiB of {memory} ({self.device})",
            self._auto_line(),
        ]
        found += [f"warning: {note}" for note in config.notes]
        if not self.fits:
            found.append(
                f"warning: ~{peak} GiB do not fit into {memory} GiB of the {self.device};"
                " smaller train.micro_rows or model.depth need less"
            )
        return found

    def _auto_line(self) -> str:
        optim = self.resolved.optim
        batch = self.batch_tokens
        power = f"2^{batch.bit_length() - 1}" if batch & (batch - 1) == 0 else f"{batch:,}"
        law = self.resolved.origin["train.batch_tokens"].startswith("auto")
        parts = [
            f"batch {power}{' (D^0.383)' if law else ''}",
            f"lr x{self.lr_multiplier:.2f}",
            f"wd {self.weight_decay:.3f}",
            f"warm-up {optim.warmup_steps}",
        ]
        if optim.schedule == "trapezoid":
            parts.append(f"warm-down {round(optim.warmdown * self.steps):,}")
        else:
            parts.append(optim.schedule)
        return "auto     " + "   ".join(parts)


def plan(resolved: Resolved, *, processes: int = 1) -> Plan:
    """The figures of a run on this machine; nothing is trained and no model allocated.

    Args:
        resolved: The configuration.
        processes: Processes that share the batch, one device each.

    Raises:
        RunError: If `train.device` names a device that this machine lacks.
    """
    device = devices.choose(resolved.train.device)
    _started_bytes()
    with torch.device("meta"):
        model = models.build(resolved)
    train = resolved.train
    dtype = devices.compute_dtype(device) if train.dtype == "auto" else train.dtype
    peak = _peak_bytes(model, resolved, device.type, dtype) / _MIB
    memory = _memory_bytes(device) / _MIB
    tokens = train.steps * train.batch_tokens
    return Plan(
        params=model.num_parameters(),
        scaling_params=model.scaling_parameters(),
        flops_per_token=model.flops_per_token(),
        tokens=tokens,
        steps=train.steps,
        batch_tokens=train.batch_tokens,
        lr_multiplier=resolved.optim.lr_multiplier,
        weight_decay=resolved.optim.weight_decay,
        total_flops=model.flops_per_token() * tokens,
        peak_mib=round(peak, 1),
        memory_mib=round(memory, 1),
        seconds=round(_step_seconds(model, resolved, device, dtype, processes) * train.steps, 1),
        fits=peak <= _USABLE * memory,
        device=device.type,
        resolved=resolved,
        processes=processes,
    )


def _count(tokens: int) -> str:
    """Three significant digits with K, M or B."""
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if tokens >= 0.9995 * unit:
            number = tokens / unit
            return f"{number:,.{max(0, 3 - len(str(int(number))))}f} {letter}"
    return str(tokens)


def _gib(mib: float) -> str:
    gib = mib / 1024
    return f"{gib:,.1f}" if gib < 100 else f"{gib:,.0f}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 360_000 else f"{seconds / 86_400:,.0f} days"


def _memory_bytes(device: torch.device) -> float:
    """All memory of a GPU, or of the machine."""
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


@functools.cache
def _started_bytes() -> float:
    """What this process held at its first plan; 575 MiB (torch 2.15) where it cannot be read."""
    if sys.platform != "linux":
        return 575 * _MIB
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - not a path of ours
        return float(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _peak_bytes(model: models.LanguageModel, resolved: Resolved, kind: str, dtype: str) -> float:
    """Bytes held when a step is at its fullest, in the last layers' backward pass."""
    tokens = resolved.train.micro_rows * resolved.data.row_tokens
    width_bytes = 4 if dtype == "fp32" else 2
    params = model.num_parameters()
    weights = params * (4 + 4)
    if width_bytes == 2:
        # Each weight's copy in the compute type is kept for the backward pass.
        weights += 2 * params
    moments = workspace = 0
    for group in model.parameter_groups(resolved.optim):
        sizes = [p.numel() for p in group["params"]]
        if group["optimizer"] == "adamw":
            moments += 8 * sum(sizes)
            continue
        moments += 4 * sum(sizes)
        stacks: dict[tuple[int, ...], int] = {}
        for p in group["params"]:
            stacks[tuple(p.shape)] = stacks.get(tuple(p.shape), 0) + p.numel()
        # Muon works on all matrices of one shape at once, in some six copies.
        workspace = 6 * 4 * max(stacks.values())
    activations = tokens * _activation_values(resolved) * width_bytes
    vocab = padded(resolved.model.vocab_size)
    # Logits, slope and gradient of one chunk, and the head's gradient made in the forward pass.
    chunk = min(tokens * vocab, 2**27 if kind == "cuda" else 2**22)
    logits = 4 * 4 * chunk + 4 * vocab * resolved.model.width
    if kind == "cuda":
        # The backward pass adds about a layer; the context of CUDA is not counted by PyTorch.
        return weights + moments + max(workspace, activations * 1.05 + logits)
    # Freed blocks of the C library's heap serve later ones badly: with 1,024 to 8,192 tokens and
    # widths of 256 and 512 a process held 1.8 times the saved activations after one step and 2.4
    # times after five. 170 MiB are the libraries' buffers, allocated by the first steps.
    started = _started_bytes() + 170 * _MIB
    return started + weights + moments + max(workspace, 2.1 * activations + logits)


def _activation_values(resolved: Resolved) -> float:
    """Numbers that the forward pass keeps for the backward pass, per token."""
    model = resolved.model
    width, hidden = model.width, model.hidden
    if model.family == "mlp":
        return 2 * model.context * width + 3 * width
    if model.family == "wavenet":
        return width * (model.depth * 8 + 2 * (1 << model.depth) + 6)
    kv_width = width // model.heads * model.kv_heads
    stream = 5 * width if model.residual_scalars else 4 * width
    heads = 3 * width + 2 * kv_width + (width + kv_width if model.qk_norm else 0)
    mlp = (4 if model.act == "swiglu" else 2) * hidden
    tables = sum(has_value_embedding(model, layer) for layer in range(model.depth))
    return model.depth * (stream + heads + mlp) + tables * 2 * kv_width + 6 * width


def _step_seconds(
    model: models.LanguageModel,
    resolved: Resolved,
    device: torch.device,
    dtype: str,
    processes: int,
) -> float:
    """Seconds of one optimizer step."""
    train = resolved.train
    peak = devices.peak_flops(device, dtype) or _UNKNOWN_PEAK
    rate = peak * _MFU[device.type]
    matrices = [
        sorted(p.shape)
        for group in model.parameter_groups(resolved.optim)
        if group["optimizer"] == "muon"
        for p in group["params"]
    ]
    # Five iterations of X X^T, A A and B X for each matrix m x n, m <= n.
    muon = sum(5 * (4 * m * m * n + 2 * m**3) for m, n in matrices)
    micro = train.batch_tokens // (train.micro_rows * resolved.data.row_tokens * processes)
    overhead = micro * (resolved.model.depth + 2) * _LAYER_OVERHEAD
    work: float = (model.flops_per_token() * train.batch_tokens / processes + muon) / rate
    return work + overhead if device.type == "cpu" else max(work, overhead)
