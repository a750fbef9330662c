"""Uploading to the Hub: all that belongs together as one commit, with the card that there is."""

import os
import tempfile
from pathlib import Path

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
        """Uploads what `save_pretrained` writes as one commit.

        The card is the one on the Hub, where there is one; else that of the folder that this was loaded from or
        trained in; else a short one without a licence.

        Args:
            repo_id: `user/name`.
            private: whether only its owner sees a repository that is made for it.
            token, revision, create_pr, commit_message, commit_description: as `HfApi.create_commit` takes them.
            max_shard_size: of a file of weights.
            tags: further ones, for the card.

        Returns:
            the `huggingface_hub.CommitInfo`.
        """
        from huggingface_hub import CommitOperationAdd, HfApi

        api = HfApi(token=token)
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if revision is not None and not revision.startswith("refs/pr/"):
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, max_shard_size=max_shard_size)
            _card(repo_id, self.home or getattr(self, "name_or_path", ""), token, tags).save(os.path.join(folder, CARD))
            paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
            return api.create_commit(
                repo_id,
                [CommitOperationAdd(path.relative_to(folder).as_posix(), path) for path in paths],
                commit_message=commit_message or f"Upload {type(self).__name__}",
                commit_description=commit_description,
                revision=revision,
                create_pr=create_pr,
            )


def _card(repo_id: str, home: str, token: bool | str | None, tags: list[str] | None):
    from huggingface_hub import ModelCard, ModelCardData
    from huggingface_hub.errors import EntryNotFoundError

    try:
        card = ModelCard.load(repo_id, token=token, ignore_metadata_errors=True)
    except EntryNotFoundError:
        if home and os.path.isfile(own := os.path.join(home, CARD)):
            card = ModelCard.load(own, ignore_metadata_errors=True)
        else:
            data = ModelCardData(library_name="regen_hf", tags=["regeneration-learning", "regen_hf"])
            card = ModelCard(f"---\n{data.to_yaml()}\n---\n{TEXT.format(name=repo_id)}")
    card.data.tags = list(dict.fromkeys([*(card.data.tags or []), *(tags or [])])) or None
    return card
