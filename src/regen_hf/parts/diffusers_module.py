"""Any diffusers model as a transformers model, so that it loads, saves and nests like one."""

import contextlib
import os
from collections.abc import Iterable
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from .contracts import PartConfig, _LocalClass
from .foreign_files import check_files, place_of
from .pretrained import HubReference, check_finite, check_kinds, commit_of, hosted, load_pretrained


def diffusers_class(name: str, base: str) -> type:
    """The class `diffusers.<name>`, which must derive from `diffusers.<base>`.

    Raises:
        ValueError: if diffusers has no such class, with the names that come closest.
    """
    import difflib

    import diffusers

    name = str(name)
    found = getattr(diffusers, name, None) if name.isidentifier() and name in dir(diffusers) else None
    if isinstance(found, type) and issubclass(found, getattr(diffusers, base)) and hasattr(found, "from_config"):
        return found
    near = difflib.get_close_matches(name, dir(diffusers), n=4, cutoff=0.5)
    hint = f"; the nearest names are {', '.join(near)}" if near else ""
    raise ValueError(f"`{name}` is not a {base} of diffusers {diffusers.__version__}{hint}.")


class DiffusersModuleConfig(PartConfig):
    """
    Args:
        class_name: the diffusers class, for example `"AutoencoderKL"`.
        module_config: its configuration, as `module.config` gives it.
    """

    model_type = "regen_diffusers_module"

    class_name: str = ""
    module_config: dict | None = None

    @classmethod
    def of(cls, module: torch.nn.Module) -> "DiffusersModuleConfig":
        """The configuration of a live diffusers model."""
        public = {k: v for k, v in module.config.items() if not k.startswith("_")}
        return cls(class_name=type(module).__name__, module_config=public)


class DiffusersModule(_LocalClass, PreTrainedModel):
    """Owns one diffusers model, as `net`.

    Without this shell, transformers would re-initialise the weights of a diffusers model that is a child of a
    `PreTrainedModel`, and `from_pretrained` would leave its non-persistent buffers (position embeddings, rotary
    frequencies) as uninitialised memory without a word.

    Example:
        >>> from diffusers import AutoencoderTiny
        >>> shell = DiffusersModule.wrap(AutoencoderTiny(latent_channels=4))
        >>> shell.net.config.latent_channels
        4
    """

    config_class = DiffusersModuleConfig
    main_input_name = "sample"
    base_model_prefix = ""
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    def __init__(self, config: DiffusersModuleConfig, net: torch.nn.Module | None = None):
        super().__init__(config)
        self.net = self._build() if net is None else net
        config.module_config = DiffusersModuleConfig.of(self.net).module_config  # with what was left to its defaults
        self._built_on_meta = any(tensor.is_meta for tensor in self.net.parameters())
        self._fixed = [name for name, tensor in self.net.named_parameters() if not tensor.requires_grad]
        for inner in self.net.modules():
            if isinstance(inner, PreTrainedModel):
                hosted(inner, None, None)  # AutoencoderRAE freezes its encoder, which loading would undo
        self.post_init()

    @classmethod
    def wrap(cls, module: torch.nn.Module) -> "DiffusersModule":
        """Hosts a live diffusers model; its weights stay as they are."""
        return cls(DiffusersModuleConfig.of(module), net=module)

    @classmethod
    def host(cls, part: Any) -> "DiffusersModule":
        """A shell of what people give: the name or folder of a diffusers model, a [`HubReference`], a live model,
        or a shell. A live model without anything to train stays so when it is saved and loaded again.
        """
        from diffusers import ModelMixin

        shell = hosted(cls.wrap(part) if isinstance(part, ModelMixin) else part, cls._load_diffusers, cls)
        if not isinstance(shell, cls):
            raise TypeError(f"a name, a HubReference or a diffusers model was expected, got {type(part).__name__}.")
        return shell

    @classmethod
    def from_diffusers(cls, name_or_path: str | HubReference, **kwargs) -> "DiffusersModule":
        """Loads a diffusers model by Hub name, folder or reference, whatever class its `config.json` names.

        Only safetensors are read. `kwargs` go to the class's `from_pretrained` (`subfolder`, `revision`, ...).
        """
        return load_pretrained(name_or_path, cls._load_diffusers, **kwargs)

    @classmethod
    def _load_diffusers(cls, name: str | os.PathLike, **kwargs) -> "DiffusersModule":
        # by its own config.json: diffusers' AutoModel imports whatever module a model_index.json names
        described, _ = PreTrainedConfig.get_config_dict(name, **place_of(kwargs))
        if "_class_name" not in described:
            other = (described.get("architectures") or ["model of another library"])[0]
            raise ValueError(f"`{name}` is no diffusers model, but a {other}.")
        kwargs.pop("trust_remote_code", None)
        found = diffusers_class(described["_class_name"], "ModelMixin")
        return cls.wrap(found.from_pretrained(os.fspath(name), **{**kwargs, "use_safetensors": True}))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, config=None, **kwargs):
        """As transformers' own, and also from what diffusers itself has saved; only from safetensors."""
        name = pretrained_model_name_or_path
        if not os.path.isdir(name):
            kwargs["revision"] = commit_of(name, kwargs)
        check_files(name, kwargs.get("variant"), **place_of(kwargs))
        described, _ = PreTrainedConfig.get_config_dict(name, **place_of(kwargs))
        if "_class_name" in described:
            shell = cls._load_diffusers(name, **kwargs)
        else:
            shell = super().from_pretrained(name, *args, config=config, **{**kwargs, "use_safetensors": True})
        found = shell[0] if isinstance(shell, tuple) else shell
        check_kinds(found, name, kwargs.get("variant"), **place_of(kwargs))
        check_finite(found, name)
        return shell

    def forward(self, *args, **kwargs):
        return self.net(*args, **kwargs)

    def _build(self) -> torch.nn.Module:
        build = diffusers_class(self.config.class_name, "ModelMixin").from_config
        try:
            return build(self.config.module_config or {})
        except RuntimeError:
            if not torch.empty(0).is_meta:
                raise
        with torch.device("cpu"):  # one that reads values while it is built, as AutoencoderVidTok does
            return build(self.config.module_config or {}).to("meta")

    def _initialize_weights(self, module: torch.nn.Module, is_custom_code: bool = False) -> None:
        """diffusers initialised the weights when it built them; only what loading left empty is filled in."""
        if module is not self or getattr(self, "_is_hf_initialized", False):
            return
        self._is_hf_initialized = True
        if not self._built_on_meta:
            return
        for name in self._fixed:  # such as Stable Audio's random frequencies, which loading would train
            self.net.get_parameter(name).requires_grad_(False)
        empty = {name: t for name, t in _tensors(self.net).items() if not getattr(t, "_is_hf_initialized", False)}
        if not empty:
            return
        with torch.random.fork_rng(devices=[]):
            values = self._fresh(empty)
        for name, tensor in empty.items():
            tensor.data.copy_(values[name])
            tensor._is_hf_initialized = True

    def _fresh(self, names: Iterable[str]) -> dict[str, torch.Tensor]:
        """Tensors of a new net, which has no weights where none are among `names`: these are what takes its time."""
        from accelerate import init_empty_weights

        with contextlib.suppress(RuntimeError), init_empty_weights(include_buffers=False):  # where none are read
            found = _tensors(self._build())
            if not any(found[name].is_meta for name in names):
                return found
        return _tensors(self._build())


def _tensors(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(net.named_parameters()), **dict(net.named_buffers())}
