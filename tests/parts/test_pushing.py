"""What is uploaded, and how often, by a client whose requests are noted."""

from types import SimpleNamespace

import huggingface_hub
import pytest
import tiny
from huggingface_hub.errors import LocalEntryNotFoundError
from transformers import pipeline

from regen_hf import RegenerationModel, RegenerationProcessor

MINE = "---\nlicense: mit\ntags:\n- mine\n---\n# Mine\n"


@pytest.fixture
def hub(monkeypatch):
    """The card on the Hub, and what was asked of it."""
    hub = SimpleNamespace(card=None, repos=[], branches=[], commits=[])
    load = huggingface_hub.ModelCard.load

    def load_card(place, **kwargs):
        if place != "user/x":
            return load(place, **kwargs)
        if hub.card is None:
            raise LocalEntryNotFoundError("there is none")
        return huggingface_hub.ModelCard(hub.card)

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

    monkeypatch.setattr(huggingface_hub.ModelCard, "load", load_card)
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
    kind.from_pretrained(saved).push_to_hub("user/x", tags=["more"])
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
