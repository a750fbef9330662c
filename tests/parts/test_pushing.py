"""What is uploaded, and how often, by a client whose requests are noted or by the real one."""

import os
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import tiny
from hub import serve
from huggingface_hub.errors import LocalEntryNotFoundError
from transformers import AutoModel, pipeline

from regen_hf import RegenerationModel, RegenerationProcessor

MINE = "---\nlicense: mit\ntags:\n- mine\n---\n# Mine\n"


@pytest.fixture
def hub(monkeypatch):
    """The card on the Hub, and what was asked of it."""
    hub = SimpleNamespace(card=None, revisions=[], repos=[], branches=[], commits=[])

    def list_repo_files(self, repo_id, revision):
        hub.revisions.append(revision)
        return [".gitattributes"] if hub.card is None else [".gitattributes", "README.md"]

    def download(self, repo_id, name, revision, local_dir):
        hub.revisions.append(revision)
        Path(local_dir, name).write_text(hub.card)
        return os.path.join(local_dir, name)

    def create_repo(self, name, **asked):
        hub.repos.append((name, asked))
        return SimpleNamespace(repo_id="user/x")

    def create_commit(self, repo_id, operations, **asked):
        files = {}
        for each in operations:
            with each.as_file() as file:
                files[each.path_in_repo] = file.read()
        hub.commits.append((repo_id, files, asked, self.token))
        return "the commit"

    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", list_repo_files)
    monkeypatch.setattr(huggingface_hub.HfApi, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "create_branch", lambda self, *a, **k: hub.branches.append(k["branch"]))
    monkeypatch.setattr(huggingface_hub.HfApi, "create_commit", create_commit)
    return hub


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    tiny.latent_model().save_pretrained(folder)
    tiny.processor().save_pretrained(folder)
    (folder / "README.md").write_text(MINE)
    return folder


def test_model_and_processor_are_one_commit_with_the_card_of_their_folder(hub, saved):
    found = pipeline("regeneration", model=str(saved)).push_to_hub(
        "x", private=True, token="hf_x", revision="mine", create_pr=True, commit_message="Mine", commit_description="of"
    )
    assert found == "the commit" and hub.repos == [("x", {"private": True, "exist_ok": True})]
    (repo, files, asked, token), = hub.commits  # fmt: skip
    assert (repo, token, hub.branches) == ("user/x", "hf_x", ["mine"])
    assert {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "README.md"} <= files.keys()
    assert files["README.md"].decode() == MINE
    assert asked == {
        "commit_message": "Mine", "commit_description": "of", "revision": "mine", "create_pr": True,
    }  # fmt: skip


@pytest.mark.parametrize("kind", [RegenerationModel, RegenerationProcessor])
def test_a_card_on_the_hub_stays(kind, hub, saved):
    hub.card = MINE.replace("Mine", "Theirs")
    kind.from_pretrained(saved).push_to_hub("user/x", tags=["more"], revision="other")
    assert hub.revisions == ["other", "other"]
    (_, files, _, _), = hub.commits  # fmt: skip
    assert files["README.md"].decode() == "---\nlicense: mit\ntags:\n- mine\n- more\n---\n# Theirs\n"


def test_the_card_of_the_folder_that_a_model_was_trained_in_counts(hub, saved, tmp_path):
    model = RegenerationModel.from_pretrained(saved)
    (tmp_path / "README.md").write_text(MINE.replace("Mine", "Trained"))
    model.home = str(tmp_path)
    for each in (model, pipeline("regeneration", model=model, processor=tiny.processor())):
        each.push_to_hub("user/x")
        assert hub.commits[-1][1]["README.md"].decode().endswith("# Trained\n")


def test_a_card_without_any_says_no_licence(hub):
    tiny.latent_model().push_to_hub("user/x")
    card = hub.commits[0][1]["README.md"].decode()
    assert "license" not in card and "library_name: regen_hf" in card and 'model="user/x"' in card


def test_what_is_saved_is_uploaded_as_one_commit_where_that_is_asked(hub, saved, tmp_path):
    pipe = pipeline("regeneration", model=str(saved))
    pipe.save_pretrained(tmp_path / "x")
    assert not hub.commits
    pipe.save_pretrained(tmp_path / "x", push_to_hub=True, private=True)
    assert len(hub.commits) == 1 and hub.repos == [("x", {"private": True, "exist_ok": True})]
    with pytest.raises(TypeError, match="`private` has no effect without `push_to_hub=True`"):
        pipe.save_pretrained(tmp_path / "x", private=True)


@pytest.fixture
def served(tmp_path, monkeypatch):
    """The folder of a Hub on loopback, for the real client in this process."""
    with serve(tmp_path) as endpoint:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        yield tmp_path


def test_weights_there_in_other_shards_go_in_the_same_commit(served):
    model, there = tiny.diffusion_prior((4, 4, 4)), served / "user" / "x"
    for value, size in ((1.0, "1GB"), (2.0, "20KB"), (3.0, "1GB")):
        for parameter in model.parameters():
            parameter.data.fill_(value)
        model.push_to_hub("user/x", max_shard_size=size)
        found = AutoModel.from_pretrained(there)
        assert {float(each) for parameter in found.parameters() for each in parameter.detach().unique()} == {value}
        (there / "model.own.safetensors").write_bytes(b"mine")
        (there / "old").mkdir(exist_ok=True)
        (there / "old" / "model.safetensors").write_bytes(b"mine")
    assert not list(there.glob("*-of-*")) and not (there / "model.safetensors.index.json").exists()
    assert (there / "model.own.safetensors").exists() and (there / "old" / "model.safetensors").exists()
    assert (served / ".commits").read_text() == "user/x\n" * 3


def test_a_card_that_cannot_be_read_is_not_replaced(served, monkeypatch):
    import hub

    there = served / "user" / "x"
    there.mkdir(parents=True)
    (there / "README.md").write_text(MINE)
    monkeypatch.setattr(hub, "UNAVAILABLE", {"README.md"})
    with pytest.raises(LocalEntryNotFoundError):
        tiny.processor().push_to_hub("user/x")
    assert [path.name for path in there.iterdir()] == ["README.md"] and (there / "README.md").read_text() == MINE
