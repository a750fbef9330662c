"""Models of other libraries as parts of ours: loaded by name, kept frozen, or left on the Hub and referred to."""

import dataclasses
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclasses.dataclass(frozen=True)
class HubReference:
    """A model at one commit of the Hub, which a checkpoint names instead of holding its weights.

    The part that it stands for is frozen, since what training would change could not be saved.

    Args:
        name: a repository on the Hub.
        revision: a commit, or a branch or tag, of which the commit it is at now is taken.
        subfolder: where in the repository the model is.
    """

    name: str
    revision: str | None = None
    subfolder: str = ""

    def pinned(self) -> "HubReference":
        """The same with the commit that `revision` is at now."""
        from huggingface_hub import HfApi

        if re.fullmatch("[0-9a-f]{40}", self.revision or ""):
            return self
        return dataclasses.replace(self, revision=HfApi().model_info(self.name, revision=self.revision).sha)

    @property
    def place(self) -> dict[str, str | None]:
        """As `from_pretrained` takes it, beside the name."""
        return {"revision": self.revision, "subfolder": self.subfolder}


def load_pretrained(part: str | HubReference, load: Callable[..., PreTrainedModel], **kwargs) -> PreTrainedModel:
    """A model by Hub name, folder or reference, from safetensors only and without code from its repository.

    Args:
        load: a `from_pretrained` that takes what transformers' take.

    Raises:
        ValueError: if its weights are a pickle, or if it needs code from its repository.
        OSError: if there is no such model.
    """
    reference = part.pinned() if isinstance(part, HubReference) else None
    name = part if reference is None else reference.name
    kwargs = kwargs if reference is None else {**reference.place, **kwargs}
    try:
        model = load(name, use_safetensors=True, trust_remote_code=False, **kwargs)
    except (OSError, ValueError) as error:
        _explain(str(name), kwargs, error)
        raise
    if reference is not None:
        refer(model, reference)
    return model


def _explain(name: str, kwargs: dict[str, Any], error: Exception) -> None:
    """Raises a `ValueError` that says what to do, where what went wrong is what we do not do."""
    if "trust_remote_code" in str(error):
        raise ValueError(
            f"`{name}` needs code from its repository, which is never run here. If you trust it, load it yourself with "
            "`trust_remote_code=True` and hand in the model."
        ) from error
    files = _files(name, kwargs)
    pickles = [file for file in files if file.endswith(PICKLES)]
    if pickles and not any(file.endswith(".safetensors") for file in files):
        raise ValueError(
            f"`{name}` has its weights as a pickle only ({pickles[0]}), and reading a pickle runs whatever code its "
            "author put into it: ask for safetensors, or convert it at "
            "https://huggingface.co/spaces/safetensors/convert."
        ) from error


def _files(name: str, kwargs: dict[str, Any]) -> list[str]:
    if os.path.isdir(name):
        return [path.name for path in (Path(name) / kwargs.get("subfolder", "")).glob("*")]
    from huggingface_hub import list_repo_files
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return list_repo_files(name, revision=kwargs.get("revision"))
    except (HfHubHTTPError, HFValidationError, OSError):
        return []  # there is no such repository, which the first error says


def hosted(part: Any, load: Callable, build: Callable, **kwargs) -> PreTrainedModel:
    """A part as a live model: by name or reference through `load`, from a config through `build`, or as it is.

    A live part without anything to train stays so when it is saved and loaded again.
    """
    if isinstance(part, str | os.PathLike | HubReference):
        name = os.fspath(part) if isinstance(part, os.PathLike) else part
        # in one dtype with the layers that are put to it, whatever it was saved in
        return load_pretrained(name, load, dtype=torch.float32, **kwargs)
    if isinstance(part, PreTrainedConfig):
        return build(part)
    if not isinstance(part, PreTrainedModel):
        raise TypeError(f"a part must be a name, a HubReference, a config or a model, got {type(part).__name__}.")
    parameters = list(part.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        freeze(part)
    return part


def refuse_reference(part: Any, name: str) -> None:
    """Raises `ValueError` for a [`HubReference`] to a part that gets weights of its own."""
    if isinstance(part, HubReference):
        raise ValueError(f"`{name}` gets embeddings of its own, so it cannot be left on the Hub: give its name.")


def freeze(model: PreTrainedModel) -> PreTrainedModel:
    """Keeps a model from being trained, also after it is saved and loaded again as a part of another."""
    model.config.frozen = True
    return model.requires_grad_(False).eval()


def refer(model: PreTrainedModel, reference: HubReference) -> None:
    """Lets checkpoints that the model is a part of name `reference` instead of holding its weights."""
    freeze(model).config.reference = dataclasses.asdict(reference)


def marked_modules(root: nn.Module, mark: str) -> Iterator[tuple[str, PreTrainedModel]]:
    """The outermost models within `root`, with their names, whose config has `mark`: `"frozen"` or `"reference"`."""
    found: list[str] = []
    for name, module in root.named_modules():
        within = any(name.startswith(f"{outer}.") for outer in found)
        if name and isinstance(module, PreTrainedModel) and not within and getattr(module.config, mark, None):
            found.append(name)
            yield name, module


def position_limit(model: PreTrainedModel) -> int | None:
    """How many positions there is a learned embedding for, or `None` where positions are not learned."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None


def embedding_width(model: PreTrainedModel) -> int:
    """The size of the embeddings that it reads; those that it gives may be of another."""
    return model.get_input_embeddings().embedding_dim
