"""Models of other libraries as parts of ours: loaded by name, kept frozen, or left on the Hub and referred to."""

import contextlib
import dataclasses
import os
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.integrations.accelerate import load_offloaded_parameter
from transformers.utils.hub import resolve_revision

from .foreign_files import check_described, check_files, check_subfolder, is_float, place_of, weights_beside_config

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
COMMIT = re.compile("[0-9a-f]{40}")
_ONE_DTYPE: ContextVar[bool] = ContextVar("one_dtype", default=False)


@dataclasses.dataclass(frozen=True)
class HubReference:
    """A model at one commit of the Hub, which a checkpoint names instead of holding its weights.

    The part that it stands for is frozen, since what training would change could not be saved.

    Args:
        name: a repository on the Hub.
        revision: a commit, or a branch or tag, of which the commit it is at now is taken.
        subfolder: where in the repository the model is.

    Raises:
        ValueError: for what names no repository, such as a folder, or leads out of one.
    """

    name: str
    revision: str | None = None
    subfolder: str = ""

    def __post_init__(self):
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id

        try:
            validate_repo_id(self.name)
        except HFValidationError as error:
            raise ValueError(f"`name` of a HubReference must be a repository on the Hub, got {self.name!r}.") from error
        if os.path.isdir(self.name):
            raise ValueError(
                f"`name` of a HubReference must be a repository on the Hub, and {self.name!r} is a folder."
            )
        check_subfolder("subfolder", self.subfolder)

    @classmethod
    def described(cls, key: str, settings: Any) -> "HubReference":
        """What a config.json says under `key`; raises `ValueError` unless it is a commit of a repository."""
        fields = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(settings, dict) or "name" not in settings or not settings.keys() <= fields:
            raise ValueError(f"`{key}` must have a name, a revision and a subfolder, got {settings!r}.")
        if not COMMIT.fullmatch(str(settings.get("revision"))):
            raise ValueError(f"`{key}` must have a commit as its revision, got {settings.get('revision')!r}.")
        return cls(**settings)

    def pinned(self) -> "HubReference":
        """The same with the commit that `revision` is at now."""
        from huggingface_hub import HfApi

        if COMMIT.fullmatch(self.revision or ""):
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
        ValueError: if its weights are a pickle, or NaN or infinite, if it needs code from its repository, or if one of
            its files names what lies outside of its folder.
        OSError: if there is no such model.
    """
    reference = part.pinned() if isinstance(part, HubReference) else None
    name = part if reference is None else reference.name
    kwargs = kwargs if reference is None else {**reference.place, **kwargs}
    if not os.path.isdir(name):  # what is looked at and what is loaded are of one commit
        kwargs["revision"] = commit_of(name, kwargs)
    try:
        check_files(name, kwargs.get("variant"), **place_of(kwargs))
        check_described(PreTrainedConfig.get_config_dict(name, **place_of(kwargs))[0], f"the config.json of `{name}`")
        model = load(name, use_safetensors=True, trust_remote_code=False, **kwargs)
    except (OSError, ValueError) as error:
        _explain(str(name), kwargs, error)
        raise
    check_kinds(model, name, kwargs.get("variant"), **place_of(kwargs))
    check_finite(model, name)
    if reference is not None:
        refer(model, reference)
    return model


def commit_of(name: str, place: dict[str, Any]) -> str | None:
    """The commit that a repository's revision is at now, or the revision as it is where that cannot be found out."""
    known = {key: place[key] for key in ("token", "local_files_only", "cache_dir") if place.get(key) is not None}
    return resolve_revision(name, place.get("revision"), **known)


def check_kinds(model: nn.Module, name: str | os.PathLike, variant: str | None = None, **place: Any) -> None:
    """Raises `ValueError` where a file has integers, truth values or complex numbers for what the model has as floats.

    A name of the file may be that of a part, or be within a part, of the model.
    """
    found = weights_beside_config(name, variant, **place)
    others = {key: kind for key, kind in found.items() if not is_float(kind)}
    floats = [key for key, value in model.state_dict().items() if value.is_floating_point()] if others else []
    for key, kind in others.items():
        if any(key == own or own.endswith(f".{key}") or key.endswith(f".{own}") for own in floats):
            raise ValueError(f"`{name}` must have floats as {key}, got {kind}.")


@torch.no_grad()
def check_finite(model: nn.Module, name: Any) -> None:
    """Raises `ValueError` where weights or other saved values of a model are NaN or infinite, by their names.

    Each is looked at once, by its least and greatest value, which takes no memory; what lies on a disk is read for it.
    """
    away = "disk" in (getattr(model, "hf_device_map", None) or {}).values()
    for key, value in model.state_dict().items():
        if not _is_finite(load_offloaded_parameter(model, key) if away and value.is_meta else value):
            raise ValueError(f"`{name}` has values that are NaN or infinite in {key}.")


def _is_finite(value: torch.Tensor) -> bool:
    if value.is_meta or not value.numel() or not value.is_floating_point():
        return True
    value = value if value.itemsize > 1 else value.float()  # eight bits have no order
    return all(bool(torch.isfinite(extreme)) for extreme in torch.aminmax(value.detach()))


@contextlib.contextmanager
def one_dtype(asked: bool) -> Iterator[None]:
    """Within, [`build`] makes every part of the dtype that is asked for the whole, rather than of its own."""
    before = _ONE_DTYPE.set(asked)
    try:
        yield
    finally:
        _ONE_DTYPE.reset(before)


def build(config: PreTrainedConfig, make: Callable[..., PreTrainedModel] = AutoModel.from_config) -> PreTrainedModel:
    """A new part of its config, of its own dtype where it has one; never by code from a repository.

    Raises:
        ValueError: if it needs such code.
    """
    settings: dict[str, Any] = {"trust_remote_code": False} if make == AutoModel.from_config else {}
    own = getattr(config, "own_dtype", None)
    if own is not None and not _ONE_DTYPE.get():
        settings["dtype"] = own
    return make(config, **settings)


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
        return list_repo_files(name, revision=kwargs.get("revision"), token=kwargs.get("token"))
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
