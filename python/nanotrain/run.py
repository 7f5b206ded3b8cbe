"""`nanotrain run`: from a configuration and shards to a run folder with a trained model."""

from __future__ import annotations

import importlib.util
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nanotrain import __version__, distributed, files, kernels, models, optim, record, saving
from nanotrain import device as devices
from nanotrain.config import Resolved, resolve, to_toml
from nanotrain.data import Loader, Source
from nanotrain.distributed import World
from nanotrain.errors import RunError
from nanotrain.folder import Folder
from nanotrain.loop import Loop
from nanotrain.observe.log import Log, scaled
from nanotrain.observe.metrics import read_rows
from nanotrain.observe.trackers import open_trackers, require
from nanotrain.observe.writer import Writer
from nanotrain.plan import Plan, plan
from nanotrain.resume import check_tokenizer, config_of, cut_back
from nanotrain.state import LossScaler, TrainState
from nanotrain.summary import progress, summary


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        summary: Its figures.
        signal: What stopped it, 0 if it came to its end.
    """

    summary: dict[str, Any]
    signal: int


@dataclass(frozen=True)
class Prepared:
    """A run that could start: everything is checked and nothing is written."""

    config: Resolved
    plan: Plan
    source: Source
    device: torch.device
    world: World
    folder: Folder
    resumes: bool
    changes: list[str]


def prepare(
    preset: str | None, overrides: Mapping[str, Any], out: Path, *, resume: bool
) -> Prepared:
    """Resolves the configuration and opens the data.

    Args:
        preset: Preset or TOML file, None for flags alone.
        overrides: Values by key.
        out: The run's folder.
        resume: Go on with the run in it; without one, start.

    Raises:
        ConfigError: For mistakes in the configuration.
        RunError: If the folder is taken, or data or device are missing.
        OSError: If files cannot be read.
        ValueError: If shards are damaged.
    """
    world, folder = distributed.world(), Folder(out)
    changes: list[str] = []
    resumes = resume and folder.config.is_file() and folder.record.is_file()
    if resumes:
        config, changes = config_of(folder, overrides, preset=preset, processes=world.size)
    else:
        config = resolve(preset, overrides, processes=world.size)
        _refuse_taken(folder, resume=resume)
    device = devices.choose(config.train.device, local_rank=world.local_rank)
    if config.data.path is None:
        raise RunError("no shards are named", "add `--data FOLDER`, written by `nanobpe encode`")
    source = Source.open(config.data.path, split=config.data.split, eval_split=config.eval.split)
    if resumes:
        check_tokenizer(folder, source)
    else:
        config = resolve(
            preset,
            overrides,
            vocab_size=source.train.vocab_size,
            device=device.type,
            dtype=devices.compute_dtype(device),
            processes=world.size,
        )
    require(config.observe.trackers)
    made = plan(config, processes=world.size)
    return Prepared(config, made, source, device, world, folder, resumes, changes)


def _refuse_taken(folder: Folder, *, resume: bool) -> None:
    """Refuses a folder that holds something other than a run killed before its first row."""
    out = folder.path
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file, not a folder", "choose another `--out`")
    if not out.is_dir() or not any(out.iterdir()):
        return
    early = {folder.checkpoints, folder.log, folder.tokenizer, folder.config}
    others = [path for path in out.iterdir() if path not in early and path.suffix != ".tmp"]
    if resume and not others and not folder.steps():
        return
    if folder.metrics.exists() or folder.config.exists():
        raise RunError(
            f"{out} holds a run already",
            "add `--resume` to go on with it, or choose another `--out`",
        )
    raise RunError(f"{out} is not empty", "choose another `--out`")


def run(prepared: Prepared, log: Log, *, preset: str | None) -> Outcome:
    """Trains, evaluates, saves and reports.

    Args:
        prepared: From `prepare`.
        log: Where lines go.
        preset: Preset or file that was asked for, for the record.

    Raises:
        DivergedError: If loss, gradient or weights are no longer finite.
        OSError: If the folder cannot be written. What was there before is intact.
    """
    config, folder, world = prepared.config, prepared.folder, prepared.world
    distributed.join(world, prepared.device)
    kernels.use(config.model.kernels)
    state = _state(prepared)
    restored = saving.newest(folder, log) if prepared.resumes else None
    if restored is not None:
        _restore(state, restored[1], prepared, log)
    step = state.counters.step
    if step > config.train.steps:
        raise RunError(
            f"{folder.path} is at step {step}, beyond train.steps {config.train.steps}",
            f"use `--train.steps {step}` or more",
        )
    crop_share = state.loader.crop_share()
    # From here on files are written, by the first process alone.
    # What the files say is the first process's to tell: all must evaluate or none.
    evaluated = world.is_main and step in _open_folder(prepared, log, step, preset=preset)
    evaluated = distributed.largest(evaluated) > 0
    _say_header(prepared, log, crop_share)
    finished = world.is_main and _has_train_score(folder, config.train.steps)
    finished = distributed.largest(finished) > 0
    trackers = open_trackers(
        config.observe.trackers if world.is_main else (), folder.path, config.values()
    )
    writer = Writer(folder.metrics if world.is_main else None, trackers)
    try:
        if prepared.resumes and not (step == config.train.steps and finished):
            log.line(f"resume   {folder.path} goes on after step {step}")
            writer.event(step, "resume", changes=prepared.changes)
        loop = Loop(
            config,
            source=prepared.source,
            state=state,
            device=prepared.device,
            world=world,
            folder=folder,
            writer=writer,
            log=log,
        )
        stopped_by = loop.run(evaluated=evaluated)
        if not stopped_by and not finished:
            loop.evaluate("train")
    finally:
        writer.close()
    if stopped_by:
        name = signal.Signals(stopped_by).name
        log.line(f"stopped  {name} at step {state.counters.step}; go on with `--resume`")
    elif world.is_main and config.observe.report:
        _report(folder, log)
    distributed.leave()
    result = summary(folder)
    if not stopped_by and (line := progress(result)):
        log.line(f"result   {line}")
    return Outcome(result, stopped_by)


def _report(folder: Folder, log: Log) -> None:
    """Writes the page; a run without the package for it is a run all the same."""
    if importlib.util.find_spec("matplotlib") is None:
        log.warning('no report without matplotlib: pip install "nanobpe[report]"')
        return
    from nanotrain.observe.report import write_report

    log.line(f"report   {write_report(folder)}")


def _state(prepared: Prepared) -> TrainState:
    """Model, optimizers and loader at step 0."""
    config = prepared.config
    torch.manual_seed(config.train.seed)
    with prepared.device:
        model = models.build(config)
    loader = Loader(
        prepared.source.train,
        row_tokens=config.data.row_tokens,
        batch_rows=config.train.batch_tokens // config.data.row_tokens,
        micro_rows=config.train.micro_rows,
        packing=config.data.packing,
        seed=config.train.seed,
        device=prepared.device,
        world=prepared.world,
    )
    return TrainState(
        model,
        optim.optimizers(model.parameter_groups(config.optim)),
        loader,
        LossScaler(config.train.dtype == "fp16"),
    )


def _restore(state: TrainState, saved: dict[str, Any], prepared: Prepared, log: Log) -> None:
    """Takes over a checkpoint; rows are packed anew if data or context changed."""
    state.load_state_dict(saved)
    try:
        state.loader.load_state_dict(saved["loader"])
    except ValueError:
        rows = state.counters.tokens // prepared.config.data.row_tokens
        log.line(f"data     rows are packed anew, {rows:,} of them passed over")
        state.loader.skip(rows)


def _open_folder(prepared: Prepared, log: Log, step: int, *, preset: str | None) -> set[int]:
    """Writes config, record and tokenizer, cuts back what a resumed run repeats."""
    folder, config = prepared.folder, prepared.config
    folder.checkpoints.mkdir(parents=True, exist_ok=True)
    evaluated = cut_back(folder, step) if prepared.resumes else set()
    log.open(folder.log)
    if not prepared.resumes:
        facts = record.facts(
            config, prepared.source, prepared.device, prepared.world, preset=preset
        )
        with files.replacing_folder(folder.tokenizer) as temporary:
            shutil.copytree(prepared.source.folder / "tok", temporary, dirs_exist_ok=True)
        files.write(folder.config, to_toml(config))
        record.write(folder, facts)
    elif prepared.changes or step < config.train.steps:
        facts = folder.facts()
        entry = {"time": record.now(), "step": step, "changes": prepared.changes}
        facts |= {"resumed": [*facts.get("resumed", []), entry], "origin": dict(config.origin)}
        if prepared.changes:
            files.write(folder.config, to_toml(config))
        record.write(folder, facts)
    return evaluated


def _has_train_score(folder: Folder, step: int) -> bool:
    """Whether the evaluation that ends a run has been made."""
    return any(
        row.get("kind") == "eval" and row["split"] == "train" and row["step"] == step
        for row in read_rows(folder.metrics)
    )


def _say_header(prepared: Prepared, log: Log, crop_share: float) -> None:
    """What runs where, the plan and the data."""
    config, source, device = prepared.config, prepared.source, prepared.device
    peak = devices.peak_flops(device, config.train.dtype)
    rate = f" ({peak / 1e12:.3g} TFLOP/s {config.train.dtype})" if peak else ""
    backends = kernels.backends()
    log.line(
        f"nanotrain {__version__}   torch {torch.__version__}   {prepared.world.size}x"
        f" {devices.describe(device)}{rate}   attention: {backends['attention']}"
        f"   loss: {backends['linear_cross_entropy']}"
    )
    for line in prepared.plan.lines():
        log.line(line)
    shards = source.train
    epochs = config.train.steps * config.train.batch_tokens / shards.num_tokens
    log.line(
        f"data     {scaled(shards.num_tokens)} unique tokens in {len(shards.arrays)}"
        f" shard{'s'[: len(shards.arrays) != 1]} (hash {source.manifest_hash[:12]})"
        f"   crop {100 * crop_share:.1f} %   {epochs:.2f} epochs planned"
    )
    for change in prepared.changes:
        log.line(f"change   {change}")
    if epochs > 1 + crop_share:
        step = int(shards.num_tokens / config.train.batch_tokens) + 1
        log.warning(f"the data repeats: epoch 2 begins at about step {step:,}")
    if config.eval.every is not None and source.val is None:
        log.warning(
            f"{source.folder} has no {config.eval.split} split: nothing is evaluated but the"
            " training split at the end"
        )
    log.line()
