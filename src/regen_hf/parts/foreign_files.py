"""What the files of somebody else may say: names that stay in their folder, no pickles, sizes that can be built."""

import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers.tokenization_utils_base import SPECIAL_TOKENS_MAP_FILE, TOKENIZER_CONFIG_FILE
from transformers.utils import ADAPTER_CONFIG_NAME, ADAPTER_SAFE_WEIGHTS_NAME, CONFIG_NAME, cached_file
from transformers.utils.hub import CHAT_TEMPLATE_DIR

from .settings import shown

PLACE = ("cache_dir", "force_download", "proxies", "local_files_only", "token", "revision", "subfolder")
"""What says where on the Hub a model is, and how to get at it."""
DEEPEST = 64  # levels of a config.json: some thirty links of a chain
LARGEST = 2**31 - 1
MOST_MODULES = 10_000
COUNTS = {"layer", "layers", "depth", "depths", "blocks", "stages", "experts", "heads", "codebooks", "quantizers"}
"""Words in the names of what is built one by one."""
ADAPTERS = {"LORA", "ADALORA", "LOHA", "LOKR", "IA3", "OFT", "BOFT", "VERA"}
"""Kinds of adapters that consist of weights alone; others name further models, or a tokenizer."""
HIGHEST_RANK = 65_536
NEVER_OPENED = {"name_or_path", "special_tokens_map_file", "tokenizer_file"}
"""What transformers notes of where a tokenizer was, and reads no more."""
SHARD_OF_PROCESSES = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")
WEIGHTS = re.compile(r"(diffusion_pytorch_)?model(\.(?P<variant>[^./-]+))?(-\d{5}-of-\d{5})?\.safetensors")
READ = {".json", ".safetensors", ".model", ".txt", ".jinja"}  # suffixes of what is read out of a folder


def place_of(arguments: dict[str, Any]) -> dict[str, Any]:
    """Those of the arguments of a `from_pretrained` that say where the model is."""
    return {key: arguments[key] for key in PLACE if key in arguments}


def check_plain_name(key: str, name: Any, ending: str = "") -> None:
    """Raises `ValueError` for a name that may lead out of the folder it is to be looked for in, or of another kind."""
    plain = isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\:\0")
    if not plain or not name.endswith(ending):
        kind = f"a plain name of a file {ending}" if ending else "a plain name"
        raise ValueError(f"`{key}` must be {kind}, which stays in its folder, got {shown(name)}.")


def check_subfolder(key: str, name: Any) -> None:
    """Raises `ValueError` for anything but names of folders within each other; `""` is none."""
    if name and not isinstance(name, str):
        raise ValueError(f"`{key}` must be a path within the folder, got {shown(name)}.")
    if name and (set(name) & set("\\:\0") or any(part in ("", ".", "..") for part in name.rstrip("/").split("/"))):
        raise ValueError(f"`{key}` must be a path that stays within the folder, got {shown(name)}.")


def read_json(file: str | os.PathLike) -> Any:
    """What a file of JSON says; raises `ValueError` where it is none, or nested without end."""
    try:
        return json.loads(Path(file).read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{file} is nested too deeply: at most {DEEPEST} levels are read.") from error
    except ValueError as error:
        raise ValueError(f"{file} is no JSON: {error}") from error


def check_described(described: Any, where: Any) -> None:
    """Raises `ValueError` for what no config.json of a model says, by its key.

    That is: nesting without end, sizes that cannot be built, NaN, files elsewhere, or code of the Hub as attention.
    """
    for path, value in _leaves(described, where):
        key = next((name for name in reversed(path) if not name.isdigit()), "")
        if value is None:
            continue
        if key in ("dtype", "torch_dtype", "own_dtype"):
            if value != "auto" and not isinstance(getattr(torch, str(value).removeprefix("torch."), None), torch.dtype):
                raise ValueError(f"`{'.'.join(path)}` of {where} must be the name of a dtype of torch, got {value!r}.")
        elif isinstance(value, int) and not isinstance(value, bool):
            most = MOST_MODULES if COUNTS & set(key.split("_")) else LARGEST
            if abs(value) > most:
                raise ValueError(f"`{'.'.join(path)}` of {where} is {value}, but at most {most} can be built.")
        elif isinstance(value, float) and math.isnan(value):
            raise ValueError(f"`{'.'.join(path)}` of {where} is NaN.")
        elif any("attn_implementation" in name or "experts_implementation" in name for name in path):
            if "/" in str(value):
                raise ValueError(f"`{'.'.join(path)}` of {where} names code on the Hub, which is not run: {value!r}.")
        elif key == "transformers_weights":
            check_plain_name(key, value, ".safetensors")
        elif key == "configuration_files":
            check_plain_name(key, value, ".json")


def _leaves(described: Any, where: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """What is no dictionary or list, with the keys and places that lead to it."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), described)]
    while waiting:
        path, value = waiting.pop()
        if not isinstance(value, dict | list | tuple):
            yield path, value
            continue
        if len(path) >= DEEPEST:
            raise ValueError(f"{where} is nested too deeply at `{'.'.join(path[:4])}…`: at most {DEEPEST} levels.")
        items = value.items() if isinstance(value, dict) else enumerate(value)
        waiting += [((*path, str(name)), each) for name, each in items]


def check_files(name: str | os.PathLike, variant: str | None = None, **place: Any) -> None:
    """Looks at what a checkpoint names before any of it is read.

    Args:
        name: a folder, or a repository on the Hub.
        variant: of the weights, as for `from_pretrained`.
        place: those of [`PLACE`].

    Raises:
        ValueError: where its files, or links among them, lead out of its folder, where weights or adapters are
            pickles, or where its config.json says what [`check_described`] refuses.
    """
    check_subfolder("subfolder", place.get("subfolder"))
    place = {key: value for key, value in place.items() if value is not None}
    _check_weights(name, variant, place)
    if found := _found(name, ADAPTER_CONFIG_NAME, place):
        _check_adapter(name, read_json(found), place)


def check_tokenizer(name: str | os.PathLike, **place: Any) -> None:
    """Looks at what a tokenizer is made with: whatever its files say is an argument of its class, paths among it.

    Raises:
        ValueError: where something there is a file elsewhere, by its key.
    """
    for file in (TOKENIZER_CONFIG_FILE, SPECIAL_TOKENS_MAP_FILE):
        if found := _found(name, file, place):
            _check_tokenizer_arguments(read_json(found), f"{file} of {name}")


def _check_tokenizer_arguments(described: Any, where: str) -> None:
    if not isinstance(described, dict):
        raise ValueError(f"{where} must be a mapping, got {shown(described)}.")
    for key in ("vocab", "merges"):  # a text would be the path of one
        if not isinstance(described.get(key), dict | list | None):
            raise ValueError(f"`{key}` of {where} must be a mapping or a list, got {shown(described[key])}.")
    if described.get("init_inputs"):  # `vocab` may be the first of them
        raise ValueError(f"`init_inputs` of {where} must be empty, got {shown(described['init_inputs'])}.")
    for path, value in _leaves(described, where):
        key = next((name for name in reversed(path) if not name.isdigit()), "")
        if key == "fast_tokenizer_files":
            check_plain_name(f"{key} of {where}", value, ".json")
        elif key in NEVER_OPENED or path[0] == "vocab" or isinstance(value, bool | None):
            continue
        elif key.endswith(("_file", "_files", "_path", "_dir", "_spm")):
            check_plain_name(f"{'.'.join(path)} of {where}", value)


def weights_beside_config(name: str | os.PathLike, variant: str | None = None, **place: Any) -> dict[str, str]:
    """The names of what a model's safetensors hold, with the dtype of each, such as `"F32"`; they are here already."""
    found = _found(name, CONFIG_NAME, {key: value for key, value in place.items() if value is not None})
    files = sorted(Path(found).parent.iterdir()) if found else []
    own = [file for file in files if (each := WEIGHTS.fullmatch(file.name)) and each["variant"] == variant]
    return {key: kind for file in own for key, (kind, _) in _header(file).items()}


def _header(file: str | os.PathLike) -> dict[str, tuple[str, tuple[int, ...]]]:
    with safe_open(file, "pt") as weights:
        slices = {key: weights.get_slice(key) for key in weights.keys()}  # noqa: SIM118
        return {key: (each.get_dtype(), tuple(each.get_shape())) for key, each in slices.items()}


def is_float(kind: str) -> bool:
    """Whether a dtype of safetensors is one of floats."""
    return kind.startswith(("F", "BF"))


def _found(name: str | os.PathLike, file: str, place: dict[str, Any]) -> str | None:
    return cached_file(name, file, _raise_exceptions_for_missing_entries=False, **place)


def _check_weights(name: str | os.PathLike, variant: str | None, place: dict[str, Any]) -> None:
    if os.path.isdir(name):
        _check_folder(Path(name), Path(name, place.get("subfolder", "")))
        return
    for index in _index_names(variant):
        if found := _found(name, index, place):
            _check_index(Path(found))


def _check_folder(root: Path, folder: Path) -> None:
    _check_link(folder, root)
    for file in sorted(folder.iterdir()) if folder.is_dir() else []:
        if SHARD_OF_PROCESSES.fullmatch(file.name):
            raise ValueError(f"{file} is of a checkpoint of several processes, which is read through a pickle.")
        if file.suffix in READ:
            _check_link(file, root)
        if re.search(r"\.index(\.[^.]+)?\.json$", file.name):
            _check_index(file)
        if file.name == CONFIG_NAME:
            check_described(read_json(file), file)
    for file in sorted((templates := folder / CHAT_TEMPLATE_DIR).glob("*.jinja")):
        _check_link(templates, root)
        _check_link(file, root)


def _check_link(file: Path, root: Path) -> None:
    """Raises `ValueError` where a link leads out of `root`; the Hub's cache has links to the blobs beside it."""
    real, root = file.resolve(), root.resolve()
    cache = next((parent.parent for parent in (root, *root.parents) if parent.name == "snapshots"), root)
    if not real.is_relative_to(root) and not real.is_relative_to(cache / "blobs"):
        raise ValueError(f"{file} is a link that leads out of its folder, to {real}: put the file itself there.")


def _index_names(variant: str | None) -> list[str]:
    """What transformers and diffusers call the index of sharded weights."""
    names = ["model.safetensors.index.json", "diffusion_pytorch_model.safetensors.index.json"]
    if variant is not None:
        check_plain_name("variant", variant)
        names += [name.replace("index.", f"index.{variant}.") for name in names]
        names.append(f"diffusion_pytorch_model.safetensors.{variant}.index.json")
    return names


def _check_index(file: Path) -> None:
    described = read_json(file)
    weights = described.get("weight_map") if isinstance(described, dict) else None
    if not isinstance(weights, dict):
        raise ValueError(f"{file} has no `weight_map` of names of files.")
    for shard in {str(shard): shard for shard in weights.values()}.values():
        check_plain_name(f"weight_map of {file.name}", shard, ".safetensors")


def _check_adapter(name: str | os.PathLike, described: dict[str, Any], place: dict[str, Any]) -> None:
    check_described(described, ADAPTER_CONFIG_NAME)
    if described.get("peft_type") not in ADAPTERS:
        raise ValueError(
            f"`peft_type` of {ADAPTER_CONFIG_NAME} must be one of {', '.join(sorted(ADAPTERS))}, got "
            f"{shown(described.get('peft_type'))}."
        )
    if described.get("megatron_config") is not None:  # peft would import whatever module is named beside it
        raise ValueError(f"`megatron_config` of {ADAPTER_CONFIG_NAME} must be null: no further library is imported.")
    if not (weights := _found(name, ADAPTER_SAFE_WEIGHTS_NAME, place)):
        raise ValueError(f"`{name}` has adapters, but no {ADAPTER_SAFE_WEIGHTS_NAME}: a pickle is not read.")
    _check_ranks(described, _header(weights))
    base = described.get("base_model_name_or_path")
    if os.path.isfile(Path(name, CONFIG_NAME)) or not isinstance(base, str):
        return
    if os.path.isdir(base) and (not os.path.isdir(name) or ".." in Path(base).parts):
        raise ValueError(f"`base_model_name_or_path` of `{name}` leads out of it, to the folder {shown(base)}.")
    _check_weights(base, None, {key: value for key, value in place.items() if key not in ("revision", "subfolder")})


def _check_ranks(described: dict[str, Any], weights: dict[str, tuple[str, tuple[int, ...]]]) -> None:
    """Raises `ValueError` for adapters that are of no floats, or of a rank that none of their weights has."""
    for key, (kind, _) in weights.items():
        if not is_float(kind):
            raise ValueError(f"{key} of {ADAPTER_SAFE_WEIGHTS_NAME} must be of floats, got {kind}.")
    most = max((size for _, shape in weights.values() for size in shape), default=0)
    if described["peft_type"] == "LOKR":  # which has whole matrices for a rank beyond theirs
        most = HIGHEST_RANK
    ranks = {key: described.get(key) for key in ("r", "init_r")}
    patterns = described.get("rank_pattern")
    ranks |= {f"rank_pattern.{key}": rank for key, rank in patterns.items()} if isinstance(patterns, dict) else {}
    for key, rank in ranks.items():
        if isinstance(rank, int | float) and rank > most:
            raise ValueError(f"`{key}` of {ADAPTER_CONFIG_NAME} is {rank}, but its weights are of at most {most}.")
