"""Checkpoints of a run: written, perhaps beside the next steps, and cleared away when old."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

from nanotrain import checkpoint
from nanotrain.errors import RunError
from nanotrain.folder import Folder
from nanotrain.observe.log import Log
from nanotrain.schema import Checkpoint


class Saver:
    """Writes checkpoints and keeps the newest, the best and every Nth.

    Args:
        folder: The run.
        config: What is kept, and whether to write while training goes on.
    """

    def __init__(self, folder: Folder, config: Checkpoint) -> None:
        self._folder, self._config = folder, config
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def needs_copy(self) -> bool:
        """Whether the state must stand still after `save` has returned."""
        return self._config.async_

    def save(self, state: dict[str, Any], step: int) -> None:
        """Writes a checkpoint, or begins to.

        Raises:
            OSError: If this one, or the one before, cannot be written. Older ones are intact.
        """
        self.wait()
        if not self._config.async_:
            self._write(state, step)
            return

        def write() -> None:
            try:
                self._write(state, step)
            except BaseException as error:
                self._error = error

        self._thread = threading.Thread(target=write, name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Returns when nothing is being written any more.

        Raises:
            OSError: If it could not be written.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _write(self, state: dict[str, Any], step: int) -> None:
        checkpoint.save(state, self._folder.checkpoint(step))
        for old in set(self._folder.steps()) - self._kept():
            shutil.rmtree(self._folder.checkpoint(old))

    def _kept(self) -> set[int]:
        """Steps whose checkpoints stay."""
        steps, every = self._folder.steps(), self._config.keep_every
        kept = set(steps[-self._config.keep :])
        if every is not None:
            kept |= {step for step in steps if step % every == 0}
        best = self._folder.best()
        return kept if best is None else kept | {best}


def newest(folder: Folder, log: Log) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that can be read, with its state; None if the run has none.

    Raises:
        RunError: If there are checkpoints and none can be read.
    """
    steps = folder.steps()
    for step in reversed(steps):
        path = folder.checkpoint(step)
        try:
            return path, checkpoint.load(path)
        except (OSError, ValueError) as error:
            log.warning(f"{path.name} is passed over: {error}")
    if steps:
        raise RunError(f"no checkpoint of {folder.path} can be read")
    return None
