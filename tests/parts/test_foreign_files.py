"""What files of somebody else say is looked at before it is followed."""

import json
import os
import shutil
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, BertModel

from regen_hf import (
    DiffusersModule,
    EncoderExtractor,
    RegenerationConfig,
    RegenerationModel,
    RegenerationProcessor,
    TextModality,
    add_lora,
    load_extractor,
    load_generator,
)
from regen_hf.parts import foreign_files, part
from regen_hf.parts.foreign_files import (
    check_described,
    check_files,
    check_plain_name,
    check_subfolder,
    place_of,
    read_json,
)
from regen_hf.parts.outputs import RepresentationSpec
from regen_hf.parts.pretrained import load_pretrained

CODES = RepresentationSpec((4, 4), 12)
LOADERS = {
    "ours": (lambda: tiny.code_prior(), AutoModel.from_pretrained),
    "transformers": (lambda: BertModel(tiny.bert()), lambda folder: load_pretrained(folder, AutoModel.from_pretrained)),
    "encoder": (lambda: BertModel(tiny.bert()), EncoderExtractor.from_components),
    "load_extractor": (lambda: tiny.kl(), load_extractor),
    "load_generator": (lambda: BertModel(tiny.bert()), lambda folder: load_generator(folder, CODES)),
    "diffusers": (lambda: tiny.kl(), DiffusersModule.from_pretrained),
    "diffusers by name": (lambda: tiny.kl(), DiffusersModule.host),
    "shell": (lambda: DiffusersModule.wrap(tiny.kl()), AutoModel.from_pretrained),
}


def weights_of(folder: Path) -> Path:
    return next(folder.glob("*.safetensors"))


def with_index(folder: Path, shard: str) -> None:
    """An index of the weights in `folder` that names one shard, `shard`, in the place of the file that was there."""
    file = weights_of(folder)
    names = list(load_file(file))
    file.rename(folder.parent / "elsewhere.safetensors")
    index = folder / f"{file.name}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, shard)}))


@pytest.fixture(scope="module", params=LOADERS)
def original(request, tmp_path_factory):
    make, load = LOADERS[request.param]
    folder = tmp_path_factory.mktemp("original") / "model"
    make().save_pretrained(folder)
    return folder, load


@pytest.fixture
def saved(original, tmp_path):
    folder, load = original
    shutil.copytree(folder, tmp_path / "model")
    return tmp_path / "model", lambda: load(str(tmp_path / "model"))


@pytest.fixture(scope="module")
def code_prior(tmp_path_factory):
    folder = tmp_path_factory.mktemp("code_prior")
    tiny.code_prior().save_pretrained(folder)
    return folder


def test_an_index_names_files_beside_it(saved):
    folder, load = saved
    with_index(folder, "../elsewhere.safetensors")
    with pytest.raises(ValueError, match="weight_map of .* must be a plain name of a file .safetensors"):
        load()


@pytest.mark.parametrize("shard", ["/elsewhere.safetensors", "a/b.safetensors", "..", "w.bin", "w.pt", 3, None, {}])
@pytest.mark.parametrize("index", ["model.safetensors.index.json", "model.safetensors.index.fp16.json"])
def test_an_index_names_no_other_file(shard, index, tmp_path):
    (tmp_path / index).write_text(json.dumps({"weight_map": {"weight": shard}}))
    with pytest.raises(ValueError, match="weight_map of .* must be a plain name of a file .safetensors"):
        check_files(tmp_path)
    (tmp_path / index).write_text(json.dumps([shard]))
    with pytest.raises(ValueError, match="has no `weight_map`"):
        check_files(tmp_path)


def test_a_link_stays_in_its_folder(saved):
    folder, load = saved
    file = weights_of(folder)
    file.rename(folder.parent / "elsewhere.safetensors")
    file.symlink_to(folder.parent / "elsewhere.safetensors")
    with pytest.raises(ValueError, match=r"safetensors is a link that leads out of its folder, to .*elsewhere"):
        load()


def test_shards_of_processes_are_not_read(saved):
    """transformers finds their places through a pickle beside them."""
    folder, load = saved
    weights_of(folder).rename(folder / "shard-00001-model-00001-of-00001.safetensors")
    with pytest.raises(ValueError, match="read through a pickle"):
        load()


def test_links_as_the_cache_of_the_hub_has_them_are_followed(tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    tiny.code_prior().save_pretrained(snapshot)
    blobs.mkdir()
    for file in list(snapshot.iterdir()):
        file.rename(blobs / file.name)
        file.symlink_to(os.path.relpath(blobs / file.name, snapshot))
    assert AutoModel.from_pretrained(snapshot).config.num_codes == 12


def test_a_folder_may_itself_be_a_link(tmp_path):
    tiny.code_prior().save_pretrained(tmp_path / "model")
    (tmp_path / "latest").symlink_to(tmp_path / "model")
    assert AutoModel.from_pretrained(tmp_path / "latest").config.num_codes == 12


@pytest.mark.parametrize("wrong", ["../other", "/etc", "a/../../b", "a//b", "a\\b", "C:x", "."])
def test_a_subfolder_stays_within_the_folder(wrong, tmp_path):
    (tmp_path / "folder").mkdir()
    tiny.code_prior().save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="`subfolder` must be a path that stays within the folder"):
        check_files(tmp_path / "folder", subfolder=wrong)
    with pytest.raises(ValueError, match="`subfolder` must be a path that stays within the folder"):
        DiffusersModule.from_diffusers(str(tmp_path / "folder"), subfolder=wrong)


@pytest.mark.parametrize("right", ["", None, "vae", "a/b", "a.b/"])
def test_a_subfolder_may_be_within_another(right):
    check_subfolder("subfolder", right)


@pytest.mark.parametrize("wrong", ["", ".", "..", "../a", "/a", "a/b", "a\\b", "a\0", "c:a", None, 3, ["a"]])
def test_plain_names_lead_nowhere(wrong):
    with pytest.raises(ValueError, match="`weights` must be a plain name"):
        check_plain_name("weights", wrong)


def nested(levels: int) -> dict:
    described: dict = {}
    for _ in range(levels):
        described = {"decoder_config": described}
    return described


DESCRIBED = [
    (nested(70), "is nested too deeply at `decoder_config.decoder_config.decoder_config.decoder_config…`"),
    ({"prior_config": {"num_hidden_layers": 10**12}}, "`prior_config.num_hidden_layers` of x is 1000000000000"),
    ({"layers_per_block": [1, 20_000]}, "`layers_per_block.1` of x is 20000, but at most 10000"),
    ({"hidden_size": 10**12}, "`hidden_size` of x is 1000000000000"),
    ({"kl_weight": float("nan")}, "`kl_weight` of x is NaN"),
    ({"a_config": {"attn_implementation": "someone/attention"}}, "`a_config.attn_implementation` of x names code"),
    ({"_attn_implementation": {"": "someone/attention"}}, "names code on the Hub"),
    ({"transformers_weights": "../model.safetensors"}, "`transformers_weights` must be a plain name"),
    ({"transformers_weights": "model.bin"}, "`transformers_weights` must be a plain name of a file .safetensors"),
    ({"configuration_files": ["config.4.json", "../../config.5.json"]}, "`configuration_files` must be a plain name"),
]


@pytest.mark.parametrize("described, match", DESCRIBED)
def test_what_no_config_says_is_refused(described, match):
    with pytest.raises(ValueError) as refused:
        check_described(described, "x")
    assert match in str(refused.value)


@pytest.mark.parametrize("described, match", DESCRIBED)
def test_configs_are_looked_at_by_every_way_in(described, match, code_prior, tmp_path):
    shutil.copytree(code_prior, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **described}))
    for load in (AutoModel.from_pretrained, lambda folder: load_generator(folder, CODES)):
        with pytest.raises((ValueError, OSError)):
            load(str(tmp_path))
    if "configuration_files" not in described:
        with pytest.raises(ValueError):
            RegenerationConfig.from_dict({**described, "model_type": "regen_regeneration"})


def test_json_without_end_is_refused(tmp_path):
    tiny.code_prior().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    with pytest.raises(ValueError, match=r"config.json is nested too deeply"):
        load_generator(str(tmp_path), CODES)


@pytest.fixture
def pipeline_folder(tmp_path, monkeypatch):
    """A pipeline whose index names a module of the author's, which would say that it ran."""
    tiny.kl().save_pretrained(tmp_path / "vae")
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "X", "vae": ["evil_module", "Evil"]}))
    (tmp_path / "evil_module.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_an_index_of_a_pipeline_imports_nothing(pipeline_folder):
    loaded = DiffusersModule.from_diffusers(str(pipeline_folder), subfolder="vae")
    assert loaded.config.class_name == "AutoencoderKL"
    assert not (pipeline_folder / "ran").exists()


@pytest.mark.parametrize("name", ["evil_module", "os", "DiffusionPipeline", "logging", ["AutoencoderKL"], 3])
def test_a_class_is_one_of_diffusers(name, pipeline_folder):
    file = pipeline_folder / "vae" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "_class_name": name}))
    with pytest.raises(ValueError, match="is not a ModelMixin of diffusers"):
        DiffusersModule.from_pretrained(pipeline_folder / "vae")
    assert not (pipeline_folder / "ran").exists()


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """A regenerator in `base`, and adapters on it in `adapter`."""
    folder = tmp_path_factory.mktemp("adapted")
    tiny.latent_model().save_pretrained(folder / "base")
    model = RegenerationModel.from_pretrained(folder / "base")
    add_lora(model, ["prior"], rank=2)
    model.save_pretrained(folder / "adapter")
    return folder


def adapter(folder: Path, adapted: Path, **changed) -> str:
    """The adapters, with other settings than they were saved with."""
    shutil.copytree(adapted / "adapter", folder / "adapter")
    file = folder / "adapter" / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))
    return str(folder / "adapter")


@pytest.mark.parametrize(
    "changed, match",
    [
        ({"peft_type": "XLORA"}, "`peft_type` of adapter_config.json must be one of ADALORA, .*got 'XLORA'"),
        ({"peft_type": "PROMPT_TUNING"}, "got 'PROMPT_TUNING'"),
        ({"megatron_config": {"a": 1}, "megatron_core": "evil_module"}, "`megatron_config` of adapter_config.json"),
        ({"r": 10**12}, "`r` of adapter_config.json is 1000000000000"),
    ],
)
def test_an_adapter_brings_weights_alone(changed, match, tmp_path, adapted):
    folder = adapter(tmp_path, adapted, **changed)
    with pytest.raises(ValueError, match=match):
        RegenerationModel.from_pretrained(folder)
    with pytest.raises(ValueError, match=match):
        tiny.direct_model().load_adapter(folder)


def test_an_adapter_leads_nowhere_and_is_no_pickle(tmp_path, adapted):
    folder, base = Path(adapter(tmp_path, adapted)), adapted / "base"
    assert RegenerationModel.from_pretrained(folder).peft_config
    file = folder / "adapter_config.json"
    described = json.loads(file.read_text())
    file.write_text(json.dumps({**described, "base_model_name_or_path": f"{base}/../base"}))
    with pytest.raises(ValueError, match="`base_model_name_or_path` of .* leads out of it, to the folder"):
        RegenerationModel.from_pretrained(folder)
    file.write_text(json.dumps(described))
    weights = load_file(folder / "adapter_model.safetensors")
    torch.save(weights, folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(ValueError, match="has adapters, but no adapter_model.safetensors: a pickle is not read"):
        RegenerationModel.from_pretrained(folder)
    weights[next(iter(weights))][0, 0] = float("nan")
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="has values that are NaN or infinite in prior.*lora_A"):
        RegenerationModel.from_pretrained(folder)
    with pytest.raises(ValueError, match="has values that are NaN or infinite in prior.*lora_A"):
        RegenerationModel.from_pretrained(base).load_adapter(str(folder))


def test_files_of_a_processor_stay_in_their_folder(tmp_path):
    folder = tmp_path / "processor"
    tiny.processor().save_pretrained(folder)
    (folder / "tokenizer.json").rename(tmp_path / "tokenizer.json")
    (folder / "tokenizer.json").symlink_to(tmp_path / "tokenizer.json")
    with pytest.raises(ValueError, match="tokenizer.json is a link that leads out of its folder"):
        RegenerationProcessor.from_pretrained(folder)


def test_files_of_a_tokenizer_are_named_plainly(tmp_path):
    tiny.processor().save_pretrained(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    named = ["../../tokenizer.4.0.json"]
    file.write_text(json.dumps({**json.loads(file.read_text()), "fast_tokenizer_files": named}))
    with pytest.raises(ValueError, match="`fast_tokenizer_files of .*` must be a plain name of a file .json"):
        RegenerationProcessor.from_pretrained(tmp_path)


def test_what_says_where_a_model_is():
    asked = {"token": "t", "proxies": {}, "dtype": "auto", "revision": "main"}
    assert place_of(asked) == {"token": "t", "proxies": {}, "revision": "main"}


def described_tokenizer(folder: Path, file: str = "tokenizer_config.json", **described) -> str:
    tiny.processor().save_pretrained(folder)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "pad_token": "[PAD]"})
    )
    (folder / file).write_text(json.dumps({**read_json(folder / "tokenizer_config.json"), **described}))
    return str(folder)


@pytest.mark.parametrize(
    "described, match",
    [
        ({"vocab": "/x/outside/vocab.txt"}, "`vocab` of .* must be a mapping or a list, got '/x/outside/vocab.txt'"),
        ({"vocab": 3}, "`vocab` of .* must be a mapping or a list, got 3"),
        ({"merges": "merges.txt"}, "`merges` of .* must be a mapping or a list, got 'merges.txt'"),
        ({"init_inputs": ["/x/vocab.txt"]}, "`init_inputs` of .* must be empty"),
        ({"merges_file": "../merges.txt"}, "`merges_file of .* must be a plain name"),
        ({"sp_model_kwargs": {"model_file": "/x/spm.model"}}, "`sp_model_kwargs.model_file of .* must be a plain name"),
        (
            {"sudachi_kwargs": {"sudachi_resource_dir": "/x"}},
            "`sudachi_kwargs.sudachi_resource_dir of .* must be",
        ),
    ],
)
@pytest.mark.parametrize("file", ["tokenizer_config.json", "special_tokens_map.json"])
def test_a_tokenizer_is_made_of_no_files_elsewhere(described, match, file, tmp_path):
    folder = described_tokenizer(tmp_path, file, **described)
    with pytest.raises(ValueError, match=match):
        RegenerationProcessor.from_pretrained(folder)


def test_a_tokenizer_in_a_repository_is_looked_at_too(tmp_path, monkeypatch):
    folder = described_tokenizer(tmp_path / "user" / "name", vocab="/x/outside/vocab.txt")
    looked_up = lambda name, file, **place: str(Path(folder, file)) if Path(folder, file).exists() else None  # noqa: E731
    monkeypatch.setattr(foreign_files, "cached_file", looked_up)
    with pytest.raises(ValueError, match="`vocab` of tokenizer_config.json of user/name must be a mapping or a list"):
        TextModality.load("user/name", {"max_length": 4}, revision="0" * 40)


def test_what_a_tokenizer_says_of_its_past_is_no_path(tmp_path):
    tiny.processor().save_pretrained(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    past = {
        "name_or_path": "/a/b",
        "tokenizer_file": "/a/b.json",
        "special_tokens_map_file": "/a/c",
        "vocab_file": None,
    }
    file.write_text(json.dumps({**read_json(file), **past, "vocab": {"a_file": 0}, "init_inputs": []}))
    assert RegenerationProcessor.from_pretrained(tmp_path).source.max_length


@pytest.mark.parametrize("linked", ["additional_chat_templates", "additional_chat_templates/a.jinja"])
def test_templates_of_a_tokenizer_stay_in_their_folder(linked, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.jinja").write_text("a secret")
    tiny.processor().save_pretrained(tmp_path / "processor")
    link = tmp_path / "processor" / linked
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(tmp_path / "outside" / ("a.jinja" if link.suffix else ""))
    with pytest.raises(ValueError, match="additional_chat_templates.* is a link that leads out of its folder"):
        RegenerationProcessor.from_pretrained(tmp_path / "processor")


@pytest.mark.parametrize("changed", [{"r": 2**25}, {"rank_pattern": {"query": 2**25}}])
def test_ranks_of_an_adapter_are_those_of_its_weights(changed, tmp_path, adapted):
    with pytest.raises(ValueError, match="of adapter_config.json is 33554432, but its weights are of at most"):
        RegenerationModel.from_pretrained(adapter(tmp_path, adapted, **changed))


def test_weights_of_an_adapter_are_floats(tmp_path, adapted):
    folder = Path(adapter(tmp_path, adapted))
    weights = {key: value.long() for key, value in load_file(folder / "adapter_model.safetensors").items()}
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lora_.* of adapter_model.safetensors must be of floats, got I64"):
        RegenerationModel.from_pretrained(folder)


def with_a_weight_as(dtype: torch.dtype, folder: Path) -> None:
    weights = load_file(weights_of(folder))
    key = next(key for key, value in weights.items() if value.is_floating_point() and value.ndim > 1)
    weights[key] = weights[key].to(dtype)
    save_file(weights, weights_of(folder), metadata={"format": "pt"})


def test_weights_are_floats_where_the_model_has_them(saved):
    folder, load = saved
    with_a_weight_as(torch.int32, folder)
    with pytest.raises(ValueError, match="must have floats as .*, got I32"):
        load()


@pytest.mark.filterwarnings("ignore:Casting complex values")
@pytest.mark.parametrize("dtype, shown", [(torch.bool, "BOOL"), (torch.complex64, "C64"), (torch.uint8, "U8")])
def test_weights_are_neither_truth_values_nor_complex(dtype, shown, code_prior, tmp_path):
    shutil.copytree(code_prior, tmp_path, dirs_exist_ok=True)
    with_a_weight_as(dtype, tmp_path)
    with pytest.raises(ValueError, match=f"must have floats as .*, got {shown}"):
        AutoModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("least", [0.0, -1.0, 1e-40])
def test_statistics_that_divide_are_above_0(least, tmp_path):
    tiny.latent_model().save_pretrained(tmp_path)
    weights = load_file(weights_of(tmp_path))
    key = next(key for key in weights if key.endswith("statistics.std"))
    weights[key][0] = least
    save_file(weights, weights_of(tmp_path), metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"must have a `std` above 0 in its statistics, got"):
        RegenerationModel.from_pretrained(tmp_path)


def test_no_memory_is_taken_for_what_only_the_config_has(code_prior, tmp_path, monkeypatch):
    shutil.copytree(code_prior, tmp_path, dirs_exist_ok=True)
    weights = load_file(weights_of(tmp_path))
    weights.pop(lost := max(weights, key=lambda key: weights[key].nbytes))
    save_file(weights, weights_of(tmp_path), metadata={"format": "pt"})
    monkeypatch.setattr(part, "MOST_MISSING", 8)
    with pytest.raises(ValueError, match=f"bytes of weights are missing that the config has, such as {lost}"):
        AutoModel.from_pretrained(tmp_path)
