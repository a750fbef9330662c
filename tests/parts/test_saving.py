"""Saving exchanges what was there at once, and leaves the rest; nothing that is asked is dropped."""

import errno
import os
import shutil
import signal
import threading
from pathlib import Path

import pytest
import tiny
import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel

from regen_hf import RegenerationConfig, RegenerationModel, RegenerationProcessor
from regen_hf.parts.pushing import asked_of_hub
from regen_hf.parts.saving import read_whole, saved_into


def filled(value: float):
    """A generator of which each weight is `value`."""
    model = tiny.diffusion_prior((4, 4, 4))
    for parameter in model.parameters():
        parameter.data.fill_(value)
    return model


def value_of(model) -> float:
    """The one value of all its weights."""
    (value,) = {float(each) for parameter in model.parameters() for each in parameter.detach().unique()}
    return value


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_users_own_files_stay_and_stale_shards_go(tmp_path):
    own = {"notes.txt": b"mine", "runs/log": b"mine", "model-v2.safetensors": b"mine", "pytorch_model.bin": b"mine"}
    for name, content in own.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    filled(1.0).save_pretrained(tmp_path, max_shard_size="20KB")
    shards = sorted(tmp_path.glob("model-*-of-*.safetensors"))
    assert len(shards) > 2 and value_of(AutoModel.from_pretrained(tmp_path)) == 1.0
    filled(2.0).save_pretrained(tmp_path)
    assert value_of(AutoModel.from_pretrained(tmp_path)) == 2.0
    assert not any(shard.exists() for shard in shards) and not (tmp_path / "model.safetensors.index.json").exists()
    filled(3.0).save_pretrained(tmp_path, max_shard_size="20KB")
    assert not (tmp_path / "model.safetensors").exists() and value_of(AutoModel.from_pretrained(tmp_path)) == 3.0
    assert {name: (tmp_path / name).read_bytes() for name in own} == own
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_weights_of_another_variant_stay(tmp_path):
    filled(1.0).save_pretrained(tmp_path, variant="one")
    filled(2.0).save_pretrained(tmp_path)
    assert value_of(AutoModel.from_pretrained(tmp_path, variant="one")) == 1.0
    assert value_of(AutoModel.from_pretrained(tmp_path)) == 2.0


@pytest.mark.parametrize("fails_at", range(2))
@pytest.mark.parametrize("links", [True, False])
def test_what_was_there_is_put_back_where_the_exchange_fails(fails_at, links, tmp_path, monkeypatch):
    filled(1.0).save_pretrained(tmp_path, max_shard_size="20KB")
    before, replace, done = contents(tmp_path), os.replace, []

    def failing(source, target):
        if Path(source).parent.name == "new":
            done.append(target)
            if len(done) > fails_at:
                raise KeyboardInterrupt
        replace(source, target)

    def no_link(*args, **kwargs):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "replace", failing)
    if not links:
        monkeypatch.setattr(os, "link", no_link)
    with pytest.raises(KeyboardInterrupt):
        filled(2.0).save_pretrained(tmp_path)
    assert contents(tmp_path) == before


FULL = [
    OSError(errno.ENOSPC, "No space left on device"),
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
]


@pytest.mark.parametrize("error", FULL, ids=["OSError", "SafetensorError"])
@pytest.mark.parametrize("there", [True, False])
def test_a_full_disk_leaves_nothing_half_written(error, there, tmp_path, monkeypatch):
    import transformers.modeling_utils

    folder = tmp_path / "model"
    if there:
        filled(1.0).save_pretrained(folder)
    before = contents(tmp_path)

    def full(*args, **kwargs):
        raise error

    monkeypatch.setattr(transformers.modeling_utils, "safe_save_file", full)
    with pytest.raises(OSError, match=r"nothing was saved into .*model: its disk is full") as said:
        filled(2.0).save_pretrained(folder)
    assert said.value.errno == errno.ENOSPC and "\n" not in str(said.value)
    assert contents(tmp_path) == before and folder.exists() is there


def test_what_a_killed_save_was_writing_goes(tmp_path):
    """And nothing else: not what another save is writing, nor a folder that is called so only."""
    (tmp_path / ".saving-mine").mkdir()
    (tmp_path / ".saving-mine" / "new").write_text("mine")
    if (child := os.fork()) == 0:
        with saved_into(tmp_path) as new:
            (new / "model.safetensors").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(list(tmp_path.glob(".saving-*/*/model.safetensors"))) == 1
    with saved_into(tmp_path) as new:
        (new / "a").write_text("whole")
        with saved_into(tmp_path) as other:
            (other / "b").write_text("whole")
    assert contents(tmp_path) == {".saving-mine/new": b"mine", "a": b"whole", "b": b"whole"}


def test_what_a_killed_save_has_taken_away_stays(tmp_path):
    with saved_into(tmp_path):
        (scratch,) = tmp_path.glob(".saving-*")
        shutil.copytree(scratch, left := tmp_path / ".saving-left")
    (left / "old").mkdir()
    (left / "old" / "config.json").write_text("old")
    with saved_into(tmp_path):
        assert (left / "old" / "config.json").exists()
    (tmp_path / "config.json").write_text("new")
    with saved_into(tmp_path):
        assert not left.exists()


def test_a_file_that_is_too_large_for_the_disk_is_said_in_a_line(tmp_path):
    with pytest.raises(OSError, match="nothing was saved into .*: .*File too large") as said, saved_into(tmp_path):
        raise OSError(errno.EFBIG, "File too large")
    assert said.value.errno == errno.EFBIG and not list(tmp_path.iterdir())


def test_a_file_takes_no_folders_place(tmp_path):
    (tmp_path / "model.safetensors").mkdir()
    (tmp_path / "model.safetensors" / "mine").write_text("mine")
    with pytest.raises(IsADirectoryError, match="in the place of the folder"):
        filled(1.0).save_pretrained(tmp_path)
    assert contents(tmp_path) == {"model.safetensors/mine": b"mine"}


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "model").write_text("mine")
    with pytest.raises(FileExistsError):
        filled(1.0).save_pretrained(tmp_path / "model")


@pytest.mark.parametrize("load", [AutoModel.from_pretrained, type(filled(1.0)).from_pretrained], ids=["auto", "own"])
def test_who_loads_meanwhile_gets_one_or_the_other(load, tmp_path):
    models = [filled(1.0), filled(2.0)]
    models[0].save_pretrained(tmp_path, max_shard_size="20KB")
    stop = threading.Event()

    def save():
        turn = 0
        while not stop.is_set():
            turn += 1
            models[turn % 2].save_pretrained(tmp_path, max_shard_size="20KB" if turn % 3 else "1GB")

    thread = threading.Thread(target=save)
    thread.start()
    try:
        found = {value_of(load(tmp_path)) for _ in range(3)}
    finally:
        stop.set()
        thread.join()
    assert found <= {1.0, 2.0}


def test_what_changed_while_it_was_read_is_read_again(tmp_path):
    seen = []

    def read():
        seen.append((tmp_path / "config.json").exists())
        if len(seen) == 1:
            (tmp_path / "config.json").write_text("{}")
            raise ValueError("half of it")
        return seen

    assert read_whole(tmp_path, read) == [False, True]
    with pytest.raises(ZeroDivisionError):
        read_whole(tmp_path, lambda: 1 / 0)


def test_a_config_read_before_a_save_is_that_of_the_weights(tmp_path):
    """As `AutoModel` reads it; one that the user has changed stays as it is."""
    model = filled(1.0)
    model.save_pretrained(tmp_path)
    read, changed = AutoConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)
    changed.condition_dropout = 0.75
    model.config.condition_dropout = 0.25
    model.save_pretrained(tmp_path)
    assert AutoModel.from_pretrained(tmp_path, config=read).config.condition_dropout == 0.25
    assert AutoModel.from_pretrained(tmp_path, config=changed).config.condition_dropout == 0.75
    assert "_as_read" not in (tmp_path / "config.json").read_text() and "_as_read" not in read.to_dict()


def test_processors_and_configs_are_exchanged_as_well(tmp_path, monkeypatch):
    processor = tiny.processor()
    processor.save_pretrained(tmp_path)
    before = contents(tmp_path)

    def failing(source, target):
        raise OSError(errno.EIO, "gone")

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="gone"):
        processor.save_pretrained(tmp_path)
    monkeypatch.undo()
    assert contents(tmp_path) == before
    assert RegenerationProcessor.from_pretrained(tmp_path).source.max_length == processor.source.max_length


ASKED = {
    "private": True, "create_pr": True, "commit_message": "mine", "commit_description": "why", "token": "secret",
    "revision": "other", "tags": ["a"], "repo_id": "user/name",
}  # fmt: skip
SAVED = {
    "model": tiny.direct_model,
    "part": lambda: tiny.diffusion_prior((4, 4, 4)),
    "rule": tiny.downsample,
    "processor": tiny.processor,
    "config": lambda: tiny.direct_model().config,
}


@pytest.mark.parametrize("kind", SAVED)
def test_what_is_asked_of_the_hub_reaches_it(kind, tmp_path, monkeypatch):
    asked, thing = [], SAVED[kind]()
    monkeypatch.setattr(type(thing), "push_to_hub", lambda self, **kwargs: asked.append(kwargs))
    thing.save_pretrained(tmp_path / "name", push_to_hub=True, **ASKED)
    thing.save_pretrained(tmp_path / "name", push_to_hub=True)
    thing.save_pretrained(tmp_path / "name", token=None, private=None)
    assert asked == [ASKED, {"repo_id": "name"}]
    for wrong in ("privat", "branch"):
        with pytest.raises(TypeError, match=f"`{wrong}` is no argument of `save_pretrained`"):
            thing.save_pretrained(tmp_path / "new", **{wrong: True})
    with pytest.raises(TypeError, match="`private` has no effect without `push_to_hub=True`"):
        thing.save_pretrained(tmp_path / "new", private=True)
    assert not (tmp_path / "new").exists()


def test_what_has_no_effect_on_an_upload_is_refused(tmp_path):
    model = filled(1.0)
    for name, value in (("variant", "fp16"), ("state_dict", {}), ("save_original_format", False)):
        with pytest.raises(TypeError, match=f"`{name}` has no effect on what `push_to_hub` uploads"):
            model.save_pretrained(tmp_path, push_to_hub=True, **{name: value})
    with pytest.raises(TypeError, match="`safe_serialization` must be True"):
        model.save_pretrained(tmp_path, safe_serialization=False)
    assert not list(tmp_path.iterdir())
    assert asked_of_hub("a/b", True, {}, saving={"max_shard_size": "1GB"}) == {"repo_id": "b", "max_shard_size": "1GB"}


def test_each_argument_of_a_push_reaches_the_client(tmp_path, monkeypatch):
    import huggingface_hub

    called = {}

    def create_repo(self, repo_id, **kwargs):
        called.update(repo=kwargs, token=self.token)
        return huggingface_hub.RepoUrl(f"https://huggingface.co/{repo_id}")

    def create_commit(self, repo_id, operations, **kwargs):
        called["commit"] = kwargs
        with next(each for each in operations if each.path_in_repo == "README.md").as_file() as file:
            called["tags"] = huggingface_hub.ModelCard(file.read().decode()).data.tags

    def list_repo_files(self, repo_id, **kwargs):
        called["there"] = kwargs
        return []

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "create_branch", lambda self, *_, **kwargs: called.update(branch=kwargs))
    monkeypatch.setattr(huggingface_hub.HfApi, "create_commit", create_commit)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", list_repo_files)
    filled(1.0).save_pretrained(tmp_path, push_to_hub=True, **ASKED)
    assert called["repo"]["private"] is True and called["token"] == "secret"
    assert called["branch"]["branch"] == "other" and called["tags"][-1] == "a"
    assert called["there"] == {"revision": "other"}
    wanted = {key: ASKED[key] for key in ("create_pr", "commit_message", "commit_description", "revision")}
    assert {key: called["commit"][key] for key in wanted} == wanted


def test_only_what_is_written_takes_a_place(tmp_path):
    with saved_into(tmp_path / "new") as new:
        (new / "deep").mkdir()
        (new / "deep" / "file.txt").write_text("new")
    assert contents(tmp_path / "new") == {"deep/file.txt": b"new"}
    with pytest.raises(ZeroDivisionError), saved_into(tmp_path / "new"):
        1 / 0  # noqa: B018
    assert contents(tmp_path / "new") == {"deep/file.txt": b"new"}


def test_a_chain_of_configs_is_saved_as_it_was(tmp_path):
    model = tiny.lowres_model()
    model.save_pretrained(tmp_path)
    assert RegenerationConfig.from_pretrained(tmp_path).to_dict().keys() == model.config.to_dict().keys()
    assert torch.equal(
        RegenerationModel.from_pretrained(tmp_path).prior.source_encoder.null, model.prior.source_encoder.null
    )
