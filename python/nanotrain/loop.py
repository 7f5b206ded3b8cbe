"""The training loop: steps, evaluations, checkpoints and what is told of them.

After step N come, in this order, its row, its layers' figures, an evaluation, a checkpoint. A run
that goes on from a checkpoint repeats exactly what came after it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from nanotrain import device as devices
from nanotrain import distributed
from nanotrain.config import Resolved
from nanotrain.data import Source
from nanotrain.distributed import World
from nanotrain.errors import DivergedError
from nanotrain.evals import BitsPerByte, bits_per_byte
from nanotrain.folder import Folder
from nanotrain.garbage import rare_collections
from nanotrain.observe.advice import Gap, low_mfu
from nanotrain.observe.health import Health
from nanotrain.observe.log import Log, eval_line, step_line
from nanotrain.observe.samples import write_samples
from nanotrain.observe.writer import Writer
from nanotrain.optim import set_step
from nanotrain.saving import Saver
from nanotrain.signals import Signals
from nanotrain.state import TrainState
from nanotrain.step import backward, update


@dataclass
class _Pending:
    """A step whose figures are still on the device."""

    row: dict[str, Any]
    loss: Tensor
    norm: Tensor


class Loop:
    """Trains a state to the last step of its configuration.

    Args:
        config: The resolved configuration.
        source: The shards.
        state: Weights, optimizers and counters; moved on in place.
        device: Where the model is.
        world: This process's place.
        folder: The run's files.
        writer: Takes the rows.
        log: Takes the lines.
    """

    def __init__(
        self,
        config: Resolved,
        *,
        source: Source,
        state: TrainState,
        device: torch.device,
        world: World,
        folder: Folder,
        writer: Writer,
        log: Log,
    ) -> None:
        self._config, self._source, self._state = config, source, state
        self._device, self._world, self._folder = device, world, folder
        self._writer, self._log = writer, log
        self._saver = Saver(folder, config.checkpoint)
        self._steps = config.train.steps
        forward: Callable[..., Tensor] = state.model
        self._forward = (
            torch.compile(forward, dynamic=False) if config.train.compile is True else forward
        )
        lengths = torch.zeros(config.model.vocab_size, dtype=torch.int64)
        known = torch.from_numpy(source.tokenizer.byte_lengths.astype("int64"))
        lengths[: len(known)] = known
        self._byte_lengths = lengths.to(device)
        self._flops_per_token = state.model.flops_per_token()
        self._peak = devices.peak_flops(device, config.train.dtype)
        self._pending: list[_Pending] = []
        self._gap, self._mfu_told = Gap(), False
        self._mark = time.perf_counter()
        # Seconds of the run at the moment that `perf_counter` showed 0.
        self._offset = state.counters.seconds - self._mark
        self._first_step, self._first_seconds = state.counters.step, state.counters.seconds

    def run(self, *, evaluated: bool) -> int:
        """Trains until the last step or a signal; gives back the signal, 0 for none.

        Args:
            evaluated: Whether the step to go on from has its evaluation already.

        Raises:
            DivergedError: If loss, gradient or weights are no longer finite.
            OSError: If a checkpoint or a row cannot be written.
        """
        counters = self._state.counters
        with Signals() as signals, rare_collections() as collect:
            while True:
                step = counters.step
                done = evaluated and step == self._first_step
                if self._evaluates(step) and not done:
                    self.evaluate("val", stop=lambda: signals.received > 0)
                stop = distributed.largest(signals.received)
                if step > self._first_step and (stop or step == self._steps or self._saves(step)):
                    self._save(step, wait=stop > 0 or step == self._steps)
                if stop or step == self._steps:
                    return stop
                self._step()
                collect(counters.step - self._first_step)

    def _evaluates(self, step: int) -> bool:
        every = self._config.eval.every
        return (
            every is not None
            and self._source.val is not None
            and (step % every == 0 or step == self._steps)
        )

    def _saves(self, step: int) -> bool:
        every = self._config.checkpoint.every
        return every is not None and step % every == 0

    def _step(self) -> None:
        """One optimizer step; its row follows at once on a CPU, later on a GPU."""
        config, state = self._config, self._state
        step = state.counters.step + 1
        start = time.perf_counter()
        batches = state.loader.next_batch()
        data_ms = 1e3 * (time.perf_counter() - start)
        loss, norm = backward(self._forward, batches, state)
        lr = set_step(state.optimizers, config.optim, step, self._steps)
        observed = step % config.observe.every == 0
        health = Health(state.model) if observed and self._world.is_main else None
        moved = update(state, norm, clip=config.train.grad_clip)
        counters = state.counters
        counters.step = step
        counters.tokens += config.train.batch_tokens
        counters.flops += float(self._flops_per_token * config.train.batch_tokens)
        row = {
            "kind": "step",
            "step": step,
            "tokens": counters.tokens,
            "epoch": round(state.loader.epoch, 6),
            "lr": lr,
            "data_ms": data_ms,
            "flops": counters.flops,
        }
        self._pending.append(_Pending(row, loss, norm))
        # One transfer per log interval: on a GPU each costs a wait for the device. The first step
        # stands alone, because it pays for compilation.
        alone = step in (self._first_step + 1, self._steps)
        if self._device.type == "cpu" or observed or alone:
            self._flush()
        if not moved:
            self._writer.event(step, "skip", reason="gradient overflow in fp16")
        for health_row in health.rows(step) if health is not None else ():
            self._writer.row(health_row)

    def _flush(self) -> None:
        """Writes the rows of the steps since the last flush."""
        if not self._pending:
            return
        figures = torch.stack([torch.stack((p.loss, p.norm)) for p in self._pending]).tolist()
        devices.synchronize(self._device)
        now, config = time.perf_counter(), self._config
        step_s = (now - self._mark) / len(self._pending)
        peak_mib = devices.peak_mib(self._device)
        tokens_per_s = config.train.batch_tokens / step_s
        rate = self._flops_per_token * tokens_per_s
        for number, (pending, (loss, norm)) in enumerate(
            zip(self._pending, figures, strict=True), 1
        ):
            step = pending.row["step"]
            # A float16 gradient may overflow: the scaler has skipped the step.
            sound = math.isfinite(loss) and (math.isfinite(norm) or self._state.scaler.enabled)
            if not sound:
                self._diverged(step, "loss" if not math.isfinite(loss) else "gradient norm")
            row = pending.row | {
                "loss": loss,
                "grad_norm": norm,
                "step_ms": 1e3 * step_s,
                "tokens_per_s": tokens_per_s,
                "mfu": rate / (self._peak * self._world.size) if self._peak else 0.0,
                "peak_mib": round(peak_mib, 1),
                "seconds": self._offset + self._mark + number * step_s,
            }
            self._writer.row(row)
            self._gap.train(loss)
            if step % config.observe.every == 0 or step in (1, self._steps):
                self._log.line(step_line(row, self._steps, eta=self._eta(step, row["seconds"])))
        self._advise_on_mfu(row)
        self._pending.clear()
        self._state.loader.forget()
        self._mark = now
        self._state.counters.seconds = self._offset + now

    def _advise_on_mfu(self, row: dict[str, Any]) -> None:
        """Says once if the GPU is badly used, after the first intervals have warmed it up."""
        if self._device.type != "cuda" or self._mfu_told or row["step"] < self._first_step + 20:
            return
        share = sum(p.row["data_ms"] for p in self._pending) / len(self._pending) / row["step_ms"]
        micro_tokens = self._config.train.micro_rows * self._config.data.row_tokens
        self._mfu_told = True
        self._warn(low_mfu(row["mfu"], data_share=share, micro_tokens=micro_tokens))

    def _warn(self, text: str | None) -> None:
        """A line and a row, if there is something to say."""
        if text is not None:
            self._log.warning(text)
            self._writer.event(self._state.counters.step, "warning", text=text)

    def _eta(self, step: int, seconds: float) -> float:
        done = step - self._first_step
        return (seconds - self._first_seconds) / done * (self._steps - step)

    def evaluate(self, split: str, *, stop: Callable[[], bool] = lambda: False) -> None:
        """Bits per byte of a split ("val" or "train"), as a row and a line.

        Args:
            split: Of the source.
            stop: Ends the evaluation early, without a row.
        """
        self._flush()
        start, counters = time.perf_counter(), self._state.counters
        result = self._bits_per_byte(split, stop)
        if result is None:
            return
        seconds = time.perf_counter() - start
        best = split == "val" and counters.step > 0 and result.bpb < counters.best_bpb
        if best:
            counters.best_bpb, counters.best_step = result.bpb, counters.step
        name = self._config.eval.split if split == "val" else "train"
        row = {"kind": "eval", "step": counters.step, "split": name, **asdict(result)}
        line = eval_line(
            counters.step,
            self._steps,
            name,
            result.bpb,
            best=best,
            tokens=result.tokens,
            seconds=seconds,
        )
        self._writer.row(row | {"seconds": self._offset + time.perf_counter()})
        self._log.line(line)
        if split == "val":
            self._warn(self._gap.validation(result.loss))
        if self._world.is_main and (split == "val" or self._source.val is None):
            write_samples(
                self._folder.samples,
                self._state.model,
                self._source.tokenizer,
                self._source.val or self._source.train,
                step=counters.step,
                seed=self._config.train.seed,
            )
        self._mark = time.perf_counter()

    def _bits_per_byte(self, split: str, stop: Callable[[], bool]) -> BitsPerByte | None:
        shards = self._source.val if split == "val" else self._source.train
        if shards is None:
            return None
        return bits_per_byte(
            self._forward,
            shards,
            self._byte_lengths,
            row_tokens=self._config.data.row_tokens,
            rows=self._config.train.micro_rows,
            tokens=self._config.eval.tokens,
            world=self._world,
            # Processes that stopped at different batches would wait for each other for ever.
            stop=stop if self._world.size == 1 else lambda: False,
        )

    def _save(self, step: int, *, wait: bool) -> None:
        """Writes a checkpoint of finite weights."""
        self._flush()
        parameters = [p.detach() for p in self._state.model.parameters()]
        if not all(map(math.isfinite, torch.stack(torch._foreach_norm(parameters)).tolist())):
            self._diverged(step, "a weight")
        if self._world.is_main:
            self._saver.save(self._state.state_dict(copy=self._saver.needs_copy), step)
            if wait:
                self._saver.wait()
        distributed.barrier()
        self._mark = time.perf_counter()

    def _diverged(self, step: int, what: str) -> None:
        """Ends the run, with the batches that led there kept for inspection."""
        if self._world.is_main:
            self._saver.wait()
            self._state.loader.save_recent(self._folder.path / f"bad-batch-step-{step:06d}.npy")
            self._writer.event(step, "diverged", reason=f"{what} is not finite")
        steps = self._folder.steps()
        kept = f"the last good checkpoint is step {steps[-1]}" if steps else "no checkpoint yet"
        raise DivergedError(
            f"{what} is not finite at step {step}; {kept}",
            "use a lower learning rate, such as half of `--optim.muon_lr`",
        )
