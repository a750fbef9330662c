"""The folder of a run: one run at a time, begun anew or continued as it was begun."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ..runtime.files import check_output_folder
from ..runtime.processes import processes
from .checkpoints import remove_checkpoints, save_json, save_tensors, weights_of

RUN, START = "run.json", "start.safetensors"
PATIENCE = 8  # seconds for readers of a killed run to let go of the folder


class RunFolder:
    """Where a run keeps what it needs to go on.

    Args:
        path: the output folder of the run; `path/stages` holds the state of each stage.
        resume: go on with the run that is there.
    """

    def __init__(self, path: str | os.PathLike, resume: bool = False):
        self.path, self.resume = Path(path), resume
        self.stages = self.path / "stages"

    @contextlib.contextmanager
    def claimed(self, needed_bytes: int = 0) -> Iterator["RunFolder"]:
        """Proves that the folder can be written to and keeps other runs out of it.

        Raises:
            OSError: if it cannot be written to, lacks space, or belongs to a run that is still going.
        """
        from filelock import FileLock, Timeout

        if not processes().is_main_process:
            yield self
            return
        check_output_folder(self.path, needed_bytes)
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=PATIENCE)
        except Timeout as error:
            raise OSError(f"another run is writing to the output folder {self.path}.") from error
        for left in self.path.glob(".model.*"):  # by a run that was killed while it wrote
            if (left / "old").is_dir() and not (self.path / "model").exists():
                os.replace(left / "old", self.path / "model")
            shutil.rmtree(left)
        try:
            yield self
        finally:
            lock.release()
            (self.path / ".lock").unlink(missing_ok=True)

    def begin(self, identity: dict[str, Any], model: torch.nn.Module) -> None:
        """Starts a run, or brings `model` back to how the run that is continued was started.

        Args:
            identity: what a continued run must have in common with the one that was begun, as JSON.

        Raises:
            ValueError: if there is an unfinished run and `resume` is false, or a run that was begun with another
                identity, naming the difference.
        """
        from safetensors.torch import load_file

        found = self._found()
        if self.resume and found is not None:
            different = [key for key in identity if found["identity"].get(key) != json.loads(json.dumps(identity[key]))]
            if different:
                raise ValueError(
                    f"`resume` cannot go on with the run in {self.path}: it was begun with other "
                    f"{', '.join(different)}. Begin in another folder, or remove {self.stages}."
                )
            model.load_state_dict(load_file(str(self.stages / START)))
            return
        if found is not None and not found["finished"]:
            raise ValueError(
                f"{self.path} holds a run that is not finished: pass `resume=True` (`--resume`) to go on with it, or "
                f"remove {self.stages} to begin anew."
            )
        self.resume = False
        processes().wait_for_everyone()  # all have looked before it is written
        if processes().is_main_process:
            shutil.rmtree(self.stages, ignore_errors=True)  # what a finished run left must not be taken for this one's
            self.stages.mkdir(parents=True)
            save_tensors(self.stages / START, weights_of(model))
            save_json(self.stages / RUN, {"finished": False, "identity": identity})
        processes().wait_for_everyone()

    def finish(self) -> None:
        """Marks the run as finished; for the main process."""
        for stage in self.stages.iterdir():
            remove_checkpoints(stage)
        save_json(self.stages / RUN, {**self._found(), "finished": True})

    def _found(self) -> dict[str, Any] | None:
        path = self.stages / RUN
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
