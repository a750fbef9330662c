"""Uploading to the Hub: all that belongs together as one commit, with the card that there is."""

import inspect
import os
import tempfile
from pathlib import Path
from typing import Any

from .saving import stale_weights

CARD = "README.md"
TEXT = """
# A regenerator

It generates by way of an intermediate representation.

```python
import regen_hf
from transformers import pipeline

pipe = pipeline("regeneration", model="{name}")
```
"""


class Pushed:
    """Uploads what `save_pretrained` writes; for classes that transformers would upload with a card of its own."""

    home: str = ""
    """The folder that it was trained in, where that is not the one it was loaded from."""

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str | None = None,
        commit_description: str | None = None,
        private: bool | None = None,
        token: bool | str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        max_shard_size: int | str | None = "50GB",
        tags: list[str] | None = None,
    ):
        """Uploads what `save_pretrained` writes as one commit; weights there in other shards go with it.

        The card is the one on the Hub at `revision`, where there is one; else that of the folder that this was loaded
        from or trained in; else a short one without a licence.

        Args:
            repo_id: `user/name`.
            private: whether only its owner sees a repository that is made for it.
            token, revision, create_pr, commit_message, commit_description: as `HfApi.create_commit` takes them.
            max_shard_size: of a file of weights.
            tags: further ones, for the card.

        Returns:
            the `huggingface_hub.CommitInfo`.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

        api = HfApi(token=token)
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if revision is not None and not revision.startswith("refs/pr/"):
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        there = api.list_repo_files(repo_id, revision=revision)
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, max_shard_size=max_shard_size)
            home = self.home or getattr(self, "name_or_path", "")
            card = _card_there(api, repo_id, revision) if CARD in there else _own_card(repo_id, home)
            card.data.tags = list(dict.fromkeys([*(card.data.tags or []), *(tags or [])])) or None
            card.save(os.path.join(folder, CARD))
            files = {path.relative_to(folder): path for path in sorted(Path(folder).rglob("*")) if path.is_file()}
            new = [CommitOperationAdd(name.as_posix(), path) for name, path in files.items()]
            stale = [CommitOperationDelete(name, is_folder=False) for name in stale_weights(there, files)]
            return api.create_commit(
                repo_id,
                [*new, *stale],
                commit_message=commit_message or f"Upload {type(self).__name__}",
                commit_description=commit_description,
                revision=revision,
                create_pr=create_pr,
            )


PUSHING = set(inspect.signature(Pushed.push_to_hub).parameters) - {"self"}


def asked_of_hub(
    folder: str | os.PathLike, push_to_hub: bool, given: dict[str, Any], saving: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The arguments of `push_to_hub` among those that a `save_pretrained` was `given`.

    Args:
        folder: what is saved into; it names the repository where `repo_id` does not.
        saving: those that say how the files are written.

    Raises:
        TypeError: for one that has no effect.
    """
    given = {name: value for name, value in given.items() if value is not None}
    if given.pop("safe_serialization", True) is False:
        raise TypeError("`safe_serialization` must be True: weights are never saved as a pickle.")
    for name in given:
        if name not in PUSHING:
            raise TypeError(f"`{name}` is no argument of `save_pretrained`.")
        if not push_to_hub and name != "max_shard_size":
            raise TypeError(f"`{name}` has no effect without `push_to_hub=True`.")
    saving = {name: value for name, value in (saving or {}).items() if value is not None}
    if push_to_hub:
        for name in saving.keys() - PUSHING - {"is_main_process"}:
            raise TypeError(f"`{name}` has no effect on what `push_to_hub` uploads: save, and upload the folder.")
    shards = {name: value for name, value in saving.items() if name in PUSHING}
    return {"repo_id": os.path.basename(os.path.abspath(folder)), **given, **shards}


def _card_there(api, repo_id: str, revision: str | None):
    """The card on the Hub, and not one that was there once; where it cannot be read, that is an error."""
    from huggingface_hub import ModelCard

    with tempfile.TemporaryDirectory() as folder:
        place = api.hf_hub_download(repo_id, CARD, revision=revision, local_dir=folder)
        return ModelCard.load(place, ignore_metadata_errors=True)


def _own_card(repo_id: str, home: str):
    from huggingface_hub import ModelCard, ModelCardData

    if home and os.path.isfile(own := os.path.join(home, CARD)):
        return ModelCard.load(own, ignore_metadata_errors=True)
    data = ModelCardData(library_name="regen_hf", tags=["regeneration-learning", "regen_hf"])
    return ModelCard(f"---\n{data.to_yaml()}\n---\n{TEXT.format(name=repo_id)}")
