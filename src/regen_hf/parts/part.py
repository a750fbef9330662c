"""How extractors and generators are loaded and saved, where that is otherwise than in transformers."""

import copy
import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_NAME, ContextManagers

from .foreign_files import check_described, check_files, place_of
from .pretrained import HubReference, check_finite, check_kinds, commit_of, load_pretrained, marked_modules, one_dtype
from .pushing import asked_of_hub
from .saving import read_whole, saved_into

MOST_MISSING = 2**30  # bytes of weights that are named as missing after memory was taken for them
SAVING = set(inspect.signature(PreTrainedModel.save_pretrained).parameters) - {
    "self", "save_directory", "push_to_hub", "token", "kwargs",
}  # fmt: skip


class _LocalClass:
    """Keeps library classes library classes.

    transformers marks a class that it reached through a repository's code file as custom code, and from then on
    every `save_pretrained` copies the class's source file into the folder. Ours come from the installed package.
    """

    @classmethod
    def register_for_auto_class(cls, auto_class: str | None = None) -> None:
        return None


class PartConfig(_LocalClass, PreTrainedConfig):
    """The configuration of a part, which may come from anybody."""

    def __post_init__(self, **kwargs):
        for key in self.sub_configs_defaults:
            if not isinstance(described := getattr(self, key), dict | PreTrainedConfig | None):
                raise TypeError(f"`{key}` must be a dictionary, a config or None, got {type(described).__name__}.")
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs) -> "PartConfig":
        """As transformers' own; raises `ValueError` for what [`check_described`] refuses."""
        check_described(config_dict, CONFIG_NAME)
        as_read = copy.deepcopy(config_dict)
        found = super().from_dict(config_dict, **kwargs)
        (found[0] if isinstance(found, tuple) else found)._as_read = as_read
        return found

    def of_now(self, name: str | os.PathLike, **place: Any) -> "PartConfig":
        """This, or what the folder that it was read from says by now, unless it was changed here since."""
        as_read = getattr(self, "_as_read", None)
        if as_read is None or not os.path.isdir(name) or self.name_or_path != str(name):
            return self
        now, _ = type(self).get_config_dict(name, **place)
        if now == as_read or self != type(self).from_dict(copy.deepcopy(as_read), name_or_path=str(name)):
            return self
        return type(self).from_dict(now, name_or_path=str(name))

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs) -> None:
        """As transformers' own, but at once; raises `TypeError` for an argument that has no effect."""
        hub = asked_of_hub(save_directory, push_to_hub, kwargs)
        with saved_into(save_directory) as new:
            self._write(new)
        if push_to_hub:
            self.push_to_hub(**hub)

    def _write(self, folder: Path) -> None:
        super().save_pretrained(folder)

    def _remove_keys_not_serialized(self, d: dict[str, Any]) -> None:
        super()._remove_keys_not_serialized(d)
        d.pop("_as_read", None)


class Part:
    """What extractors and generators do otherwise than transformers' models.

    Weights that are missing from a checkpoint, or of another shape, or not finite, are an error and not a warning.
    Models within that are frozen stay frozen, those that are referred to are loaded from where they are, and each keeps
    its own dtype. Saving replaces what was saved before at once.
    """

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """As transformers' own.

        Raises:
            ValueError: where the checkpoint lacks weights, or holds NaN or infinite ones, or where one of its files
                names what lies outside of its folder, or a pickle.
        """
        name = pretrained_model_name_or_path
        if name is None:  # as with a `state_dict`
            return cls._load(None, *args, **kwargs)
        place = place_of(kwargs)
        if not os.path.isdir(name):  # what is looked at and what is loaded are of one commit
            kwargs["revision"] = place["revision"] = commit_of(name, place)

        def load():
            check_files(name, kwargs.get("variant"), **place)
            return cls._load(name, *args, **kwargs)

        return read_whole(name, load)

    @classmethod
    def _load(cls, name, *args, output_loading_info: bool = False, **kwargs):
        if kwargs.setdefault("use_safetensors", True) is False:
            raise ValueError("`use_safetensors` must be True: weights that are a pickle are never read.")
        place = place_of(kwargs)
        if name is not None and isinstance(kwargs.get("config"), PartConfig):  # which AutoModel read before
            kwargs["config"] = kwargs["config"].of_now(name, **place)
        asked = kwargs.get("dtype", kwargs.get("torch_dtype"))
        with one_dtype(asked not in (None, "auto")):
            model, info = super().from_pretrained(name, *args, output_loading_info=True, **kwargs)
        wrong = {k: sorted(map(str, info[k])) for k in ("missing_keys", "mismatched_keys") if info.get(k)}
        for problem, names in wrong.items():
            shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
            raise ValueError(f"{name} has {problem.replace('_keys', '')} weights: {shown}.")
        if name is not None:
            check_kinds(model, name, kwargs.get("variant"), **place)
        check_finite(model, name)
        for module in model.modules():
            if hasattr(module, "check_loaded"):  # such as statistics, which divide
                module.check_loaded(name)
        model._load_references(**{key: value for key, value in place.items() if key not in ("revision", "subfolder")})
        return (model, info) if output_loading_info else model

    def load_adapter(self, peft_model_id: str | None = None, *args, **kwargs):
        """As transformers' own, from safetensors only; raises `ValueError` for adapters that are not finite."""
        if peft_model_id is not None:
            known = getattr(kwargs.get("load_config"), "download_kwargs", None) or {}
            check_files(peft_model_id, **place_of({**known, **kwargs, **(kwargs.get("adapter_kwargs") or {})}))
        found = super().load_adapter(peft_model_id, *args, **kwargs)
        check_finite(self, peft_model_id or "the adapter")
        return found

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs) -> None:
        """As transformers' own; where all weights are referred to, the file of weights is there and empty.

        What was saved there before is exchanged at once: who reads the folder meanwhile finds the old or the new model.

        Raises:
            TypeError: for an argument that has no effect.
            OSError: where the folder cannot be written to; it is then as it was.
        """
        own = {name: kwargs.pop(name) for name in SAVING if name in kwargs}
        hub = asked_of_hub(save_directory, push_to_hub, kwargs, saving=own)
        self._mark_dtypes()
        with saved_into(save_directory) as new:
            super().save_pretrained(new, **own)
            if not any(new.glob("*.safetensors")) and own.get("is_main_process", True):
                save_file({}, new / SAFE_WEIGHTS_NAME, metadata={"format": "pt"})
        if push_to_hub and own.get("is_main_process", True):
            self.push_to_hub(**hub)

    def _mark_dtypes(self) -> None:
        """Notes in the config of each part of which dtype it is, where they are not all of one, for [`build`]."""
        parts = [(described, part) for described, part in _parts(self) if _floats(part)]
        mixed = len({part.dtype for _, part in parts} | ({self.dtype} if _floats(self) else set())) > 1
        for described, part in parts:
            for config in (described, part.config):
                if mixed:
                    config.own_dtype = str(part.dtype).removeprefix("torch.")
                elif hasattr(config, "own_dtype"):
                    del config.own_dtype

    def checked(self):
        """This model as it is.

        Raises:
            ValueError: if its config builds another one, so that it could be saved, but not loaded again.
        """
        context = self.get_init_context(self.dtype, False, False, None)
        with torch.random.fork_rng(devices=[]), ContextManagers(context):
            built = type(self)(type(self.config).from_dict(self.config.to_dict()))
        built.tie_weights()
        _must_equal(self, _layout(self), _layout(built))
        own, other = _shared(self), _shared(built)
        if names := next(iter(sorted(own - other)), None):
            raise ValueError(
                f"{' and '.join(names[:2])} of {type(self).__name__} are one and the same, but would be two when "
                "loaded again: hand in a copy for each place."
            )
        return self

    def post_init(self) -> None:
        super().post_init()
        self._keep_frozen()
        for name, module in marked_modules(self, "reference"):
            self._keys_to_ignore_on_save |= {f"{name}.{key}" for key in module.state_dict()}
            self._keys_to_ignore_on_load_missing.add(rf"^{re.escape(name)}\.")

    def _load_references(self, **place: Any) -> None:
        for name, module in marked_modules(self, "reference"):
            reference = HubReference.described(f"{name}.reference", module.config.reference)
            same = {"config": module.config} if isinstance(module.config, type(module).config_class) else {}
            place = {**place, **reference.place}
            there = load_pretrained(reference.name, type(module).from_pretrained, **place, **same)
            module.load_state_dict(there.state_dict())
        self._keep_frozen()

    def _get_dtype_plan(self, dtype: torch.dtype) -> dict[str, torch.dtype]:
        """What transformers keeps in float32 where the whole is of less, kept so where but a part is of less."""
        plan = super()._get_dtype_plan(dtype)
        if any(True for _ in marked_modules(self, "own_dtype")):
            plan |= dict.fromkeys(self._keep_in_fp32_modules_strict or (), torch.float32)
        return plan

    def _move_missing_keys_from_meta_to_device(self, missing_keys, *args, **kwargs) -> None:
        """As transformers' own; raises `ValueError` for more that is missing than a slip explains: a config of sizes
        that the weights beside it do not have."""
        later = [re.compile(pattern) for pattern in self._keys_to_ignore_on_load_missing or ()]
        own = self.state_dict()
        missing = [key for key in own.keys() & set(missing_keys) if not any(each.search(key) for each in later)]
        size = sum(own[key].nbytes for key in missing if key not in self.all_tied_weights_keys)
        if size > MOST_MISSING:
            raise ValueError(f"{size:,} bytes of weights are missing that the config has, such as {min(missing)}.")
        super()._move_missing_keys_from_meta_to_device(missing_keys, *args, **kwargs)

    def _keep_frozen(self) -> None:
        for _, module in marked_modules(self, "frozen"):
            module.requires_grad_(False)

    def train(self, mode: bool = True):
        """A frozen model stays as it is in use, without dropout."""
        super().train(mode)
        for _, module in marked_modules(self, "frozen"):
            module.eval()
        return self

    def get_input_embeddings(self) -> None:
        """None: a part does not read tokens through one table, which is what sharding by accelerate asks."""

    def get_output_embeddings(self) -> None:
        """None, as above."""


def _parts(model: "Part") -> Iterator[tuple[PreTrainedConfig, PreTrainedModel]]:
    """What a model is put together of, each beside its config within the model's, where it was built from one."""
    modules = dict(model.named_modules())
    for key in model.config.sub_configs:
        name = key.removesuffix("_config")
        places = (f"source_encoder.{name.removeprefix('source_')}", f"{name}_model", name)
        part = next((modules[place] for place in places if place in modules), None)
        described = getattr(model.config, key)
        if isinstance(part, PreTrainedModel) and isinstance(described, PreTrainedConfig):
            yield described, part
            yield from _parts(part) if isinstance(part, Part) else ()


def _floats(module: nn.Module) -> bool:
    return any(parameter.is_floating_point() for parameter in module.parameters())


def _layout(model: nn.Module) -> dict[str, Any]:
    """The class of each module without others in it, and the shape of each tensor that is saved, by their names."""
    modules = dict(model.named_modules(remove_duplicate=False))
    classes = {name: type(module) for name, module in modules.items() if not any(module.children())}
    return classes | {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _must_equal(model: nn.Module, own: dict[str, Any], built: dict[str, Any]) -> None:
    for name in (*built, *own):
        found, wanted = own.get(name), built.get(name)
        # modules without weights come and go: BigBird exchanges its attention by the length that it reads
        if found != wanted and not (isinstance(found or wanted, type) and None in (found, wanted)):
            raise ValueError(
                f"{name} of {type(model).__name__} is {_shown(found)}, but {_shown(wanted)} by its config, so that it "
                "could not be loaded again: hand in the model as its config builds it."
            )


def _shown(found: type | tuple[int, ...] | None) -> str:
    return "missing" if found is None else found.__qualname__ if isinstance(found, type) else f"of shape {found}"


def _shared(model: nn.Module) -> set[tuple[str, ...]]:
    """The names of tensors that are one and the same, together."""
    groups: dict[Any, list[str]] = {}
    named = {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
    for name in model.state_dict():
        tensor = named.get(name)
        if tensor is not None and tensor.numel():
            groups.setdefault(id(tensor) if tensor.is_meta else (tensor.data_ptr(), tensor.shape), []).append(name)
    return {tuple(sorted(names)) for names in groups.values() if len(names) > 1}
