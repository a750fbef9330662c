"""The folder of a run: one run at a time, begun anew or continued as it was begun, among what others keep there."""

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

import torch

from ..parts.foreign_files import check_plain_name, check_subfolder
from ..parts.settings import shown
from ..runtime.files import (
    check_output_folder,
    disk_errors_told,
    files_below,
    only_writer,
    remove_files,
    remove_scratch,
)
from ..runtime.processes import processes
from .checkpoints import clear, own_names, remove_checkpoints, save_json, save_tensors, weights_of

RUN, START, SUMMARY = "run.json", "start.safetensors", "training_summary.json"
LOGS = ("events.out.tfevents.*", "hparams.yml")  # what accelerate's tracker for tensorboard writes
OLDER_MODEL = (
    r"README\.md|regeneration_remote_code\.py|(adapter_)?model(-\d+-of-\d+)?\.safetensors(\.index\.json)?|(target/)?"
    r"(config|adapter_config|(pre)?processor_config|tokenizer(_config)?|special_tokens_map|added_tokens|vocab)\.json"
)
OF_A_RUN = ("stages", "model", "samples", SUMMARY)


class RunFolder:
    """Where a run keeps what it needs to go on.

    `stages/run.json` marks the folder as one of a run, and names what the run made in it: that is all that a later run
    replaces or removes.

    Args:
        path: the output folder of the run; `path/stages` holds the state of each stage.
        resume: go on with the run that is there.
        overwrite: begin anew where there is a run.

    Raises:
        ValueError: if both are asked for.
    """

    def __init__(self, path: str | os.PathLike, resume: bool = False, overwrite: bool = False):
        self.path, self.resume, self.overwrite = Path(path), resume, overwrite
        self.stages, self.model = self.path / "stages", self.path / "model"
        if resume and overwrite:
            raise ValueError(f"`resume` goes on with the run in {path}, `overwrite` begins anew: give one of the two.")

    @contextlib.contextmanager
    def claimed(self, needed_bytes: int = 0) -> Iterator["RunFolder"]:
        """Proves that the folder can be written to and is free for this run, and keeps other runs out of it.

        Raises:
            ValueError: if it holds another run, or something else where this one would write.
            OSError: if it cannot be written to, now or later, lacks space, or belongs to a run that is still going.
        """
        if not processes().is_main_process:
            self._check_free()
            yield self
            return
        told = "make room, and `resume=True` (`--resume`) goes on from what was saved last"
        check_output_folder(self.path, needed_bytes)
        with disk_errors_told(self.path, told), only_writer(self.path / ".lock", self.path):
            self._check_free()
            remove_scratch(self.model)
            for left in self.path.glob(".model.*/old"):  # by an older version that was killed while it replaced it
                if self.found and not self.model.exists() and not left.is_symlink():
                    os.replace(left, self.model)
                    remove_files(left.parent, [])
            yield self

    def _check_free(self) -> None:
        found = self.found
        places = (*OF_A_RUN, *(f"stages/{stage}" for stage in _stages_of(found)))
        links = [name for name in places if (self.path / name).is_symlink()]
        if links:
            raise ValueError(
                f"{self.path / links[0]} is a link, which a run does not write through: move it away, or give another "
                "output folder."
            )
        if found is None:
            for name in OF_A_RUN:
                if (holds := self._holds(self.path / name)) is not None:
                    raise ValueError(
                        f"the output folder {self.path} holds {name}{holds}, which no run has marked as its own: move "
                        "it away, or give another folder."
                    )
        elif not self.resume and not self.overwrite:
            state = "" if found["finished"] else " that is not finished"
            raise ValueError(
                f"{self.path} holds a run{state}: pass `resume=True` (`--resume`) to go on with it, or "
                "`overwrite=True` (`--overwrite`) to begin anew in its place."
            )

    def _holds(self, place: Path) -> str | None:
        """Something in a place, but for what a run leaves that was killed before it marked anything."""
        if not place.is_dir():
            return "" if place.exists() else None
        others = sorted({path.name for path in place.iterdir()} - {*own_names(START), own_names(RUN)[-1]})
        return f"/{others[0]}" if others else None

    @property
    def found(self) -> dict[str, Any] | None:
        """What the run that is there says of itself."""
        path = self.stages / RUN
        if self.stages.is_symlink() or not path.is_file():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        if not isinstance(found, dict) or "identity" not in found or "finished" not in found:
            raise ValueError(f"{path} is no file of a run: move it away, or give another output folder.")
        _check_found(found, path)
        return found

    def begin(self, identity: dict[str, Any], model: torch.nn.Module, facts: Mapping[str, Any] | None = None) -> None:
        """Starts a run, or brings `model` back to how the run that is continued was started.

        Args:
            identity: what a continued run must have in common with the one that was begun, as JSON.
            facts: what is kept beside it.

        Raises:
            ValueError: as [`RunFolder.claimed`]; and if the run that is to be continued was begun with another
                identity, naming the difference.
        """
        from safetensors.torch import load_file

        self._check_free()  # still, after all examples have been read
        found = self.found
        if self.resume and found is not None and found.get("begun", True):
            different = [key for key in identity if found["identity"].get(key) != json.loads(json.dumps(identity[key]))]
            if different:
                raise ValueError(
                    f"`resume` cannot go on with the run in {self.path}: it was begun with other "
                    f"{', '.join(different)}. Begin in another folder, or with `overwrite` in this one."
                )
            model.load_state_dict(load_file(str(self.stages / START)))
            return
        self.resume = False
        processes().wait_for_everyone()  # all have looked before it is written
        if processes().is_main_process:
            before, files = _stages_of(found), self._model_files(found or {})
            own = {"finished": False, "identity": identity, "facts": facts, "model": sorted(files)}
            self.stages.mkdir(parents=True, exist_ok=True)
            # first of all, so that whatever is there from now on is known to be a run's
            save_json(
                self.stages / RUN, {**own, "begun": False, "stages": sorted({*before, *identity.get("stages", ())})}
            )
            for stage in before:  # what another run left must not be taken for this one's
                _remove_stage(self.stages / stage)
            save_tensors(self.stages / START, weights_of(model))
            save_json(self.stages / RUN, {**own, "begun": True, "stages": list(identity.get("stages", ()))})
        processes().wait_for_everyone()

    def note_model(self, names: Iterable[str]) -> None:
        """Marks files of `model/` as the run's own; for the main process, before they are there."""
        found = self.found
        save_json(self.stages / RUN, {**found, "model": sorted({*self._model_files(found), *names})})

    @property
    def model_files(self) -> list[str]:
        """The files of `model/` that runs have made; of a run by an older version, which noted none, by their names."""
        return self._model_files(self.found or {})

    def _model_files(self, found: dict[str, Any]) -> list[str]:
        if found and "model" not in found and self.model.is_dir():
            return [name for name in files_below(self.model) if re.fullmatch(OLDER_MODEL, name)]
        return found.get("model", [])

    @property
    def finished(self) -> bool:
        """Whether the run that is there has nothing left to do."""
        return (self.found or {"finished": False})["finished"]

    def finish(self) -> None:
        """Marks the run as finished; for the main process."""
        found = self.found
        for stage in _stages_of(found):
            remove_checkpoints(self.stages / stage)
        save_json(self.stages / RUN, {**found, "finished": True})


def _stages_of(found: dict[str, Any] | None) -> list[str]:
    """The stages of the run that is there, and of those before it that were not cleared away."""
    found = found or {}
    return found.get("stages", found.get("identity", {}).get("stages", []))


def _check_found(found: dict[str, Any], path: Path) -> None:
    """Raises `ValueError` for what no run says of itself, since files are replaced and removed by what it says."""
    identity = found["identity"]
    kinds = {
        "identity": (dict,), "finished": (bool,), "begun": (bool,), "stages": (list,), "model": (list,),
        "facts": (dict, NoneType),
    }  # fmt: skip
    for key, allowed in kinds.items():
        if key in found and not isinstance(found[key], allowed):
            raise ValueError(f"`{key}` of {path} must be a {allowed[0].__name__}, got {shown(found[key])}.")
    stages = {"stages": found.get("stages", []), "identity.stages": identity.get("stages", [])}
    for key, names in stages.items():
        if not isinstance(names, list):
            raise ValueError(f"`{key}` of {path} must be a list, got {shown(names)}.")
        for name in names:
            check_plain_name(f"{key} of {path}", name)
    for name in found.get("model", []):
        if not name:
            raise ValueError(f"`model` of {path} must be paths of files within the folder, got {shown(name)}.")
        check_subfolder(f"model of {path}", name)


def _remove_stage(folder: Path) -> None:
    """Removes what a run made of a stage."""
    logs = folder / "logs" / "regen_hf"
    if not any(each.is_symlink() for each in (folder, logs.parent, logs)):
        for place in sorted([logs, *logs.glob("*/")], reverse=True):  # as deep as trackers go, the deepest first
            remove_files(place, [path.name for name in LOGS for path in place.glob(name)])
        remove_files(logs.parent, [])
    clear(folder)
