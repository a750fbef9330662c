"""What is loaded is finite, of its own dtype and from where it says; what is put together can be loaded again."""

import ast
import copy
import json
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModel, BertModel, GPT2LMHeadModel, MarianConfig, MarianMTModel, ViTConfig, ViTModel

import regen_hf
from regen_hf import (
    AutoencoderExtractor,
    AutoregressiveGenerator,
    DiffusersModule,
    DiffusionGenerator,
    EncoderExtractor,
    RegenerationModel,
    RepresentationSpec,
    load_extractor,
    load_generator,
)
from regen_hf.parts import part as part_module

NAN, INFINITE = float("nan"), float("inf")


def vit(**settings) -> ViTConfig:
    return ViTConfig(**{
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "image_size": 16,
        "patch_size": 8, **settings,
    })  # fmt: skip


def units() -> EncoderExtractor:
    extractor = EncoderExtractor.from_components(vit(), num_codes=4)
    extractor.fitted.fill_(True)
    return extractor


def spoil(folder, name: str, value: float, dtype: torch.dtype | None = None) -> None:
    """Puts `value` among the saved ones under `name`."""
    file = next(folder.glob("*.safetensors"))
    weights = load_file(file)
    weights = {key: each.to(dtype) if dtype and each.is_floating_point() else each for key, each in weights.items()}
    weights[name].view(-1)[-1] = value
    save_file(weights, file, metadata={"format": "pt"})


@pytest.mark.parametrize(
    "make, name",
    [
        (lambda: tiny.diffusion_prior((4, 4, 4)), "denoiser.net.proj_out.weight"),
        (lambda: tiny.diffusion_prior((4, 4, 4)), "statistics.std"),
        (units, "centroids"),
        (lambda: tiny.autoencoder_extractor(tiny.vq(), "codes"), "autoencoder.net.quantize.embedding.weight"),
        (lambda: DiffusersModule.wrap(tiny.kl()), "net.quant_conv.weight"),
        (lambda: tiny.code_prior(), "source_encoder.encoder.embeddings.word_embeddings.weight"),
    ],
)
@pytest.mark.parametrize("value", [NAN, -INFINITE])
def test_values_that_are_not_finite_are_refused_by_name(make, name, value, tmp_path):
    make().save_pretrained(tmp_path)
    spoil(tmp_path, name, value)
    with pytest.raises(ValueError, match=f"has values that are NaN or infinite in {name}"):
        AutoModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_values_of_less_precision_are_looked_at_too(dtype, tmp_path):
    tiny.code_prior().to(dtype).save_pretrained(tmp_path)
    spoil(tmp_path, "source_encoder.null", NAN)
    with pytest.raises(ValueError, match="NaN or infinite in source_encoder.null"):
        AutoModel.from_pretrained(tmp_path)


def test_values_on_a_disk_are_looked_at_too(tmp_path):
    tiny.code_prior().save_pretrained(tmp_path / "model")
    where = {"source_encoder": "cpu", "head": "cpu", "language_model": "disk"}
    read = {"device_map": where, "offload_folder": str(tmp_path / "disk")}
    assert AutoModel.from_pretrained(tmp_path / "model", **read).hf_device_map == where
    spoil(tmp_path / "model", "language_model.ln_f.weight", NAN)
    with pytest.raises(ValueError, match="NaN or infinite in language_model.ln_f.weight"):
        AutoModel.from_pretrained(tmp_path / "model", **read)


@pytest.mark.parametrize(
    "make, name, load",
    [
        (lambda: BertModel(tiny.bert()), "pooler.dense.bias", EncoderExtractor.from_components),
        (lambda: tiny.kl(), "quant_conv.weight", load_extractor),
        (
            lambda: GPT2LMHeadModel(tiny.gpt2()),
            "transformer.ln_f.weight",
            lambda folder: load_generator(folder, RepresentationSpec((4, 4), 12)),
        ),
    ],
)
def test_parts_of_other_libraries_are_finite(make, name, load, tmp_path):
    make().save_pretrained(tmp_path)
    spoil(tmp_path, name, NAN)
    with pytest.raises(ValueError, match=f"NaN or infinite in .*{name.split('.', 1)[1]}"):
        load(str(tmp_path))


def dtypes(model: RegenerationModel) -> list[torch.dtype]:
    parts = [model.extractor, model.prior.source_encoder.encoder, model.prior.denoiser, model.prior.statistics.mean]
    return [part.dtype for part in parts]


def test_each_part_keeps_its_dtype(tmp_path):
    half, whole, wide = torch.bfloat16, torch.float32, torch.float16
    text = BertModel(tiny.bert()).to(half).requires_grad_(False)
    prior = DiffusionGenerator.from_components(tiny.sd3((4, 4, 4)), (4, 4, 4), text)
    model = RegenerationModel.from_components(tiny.autoencoder_extractor(), prior)
    model.extractor.half()
    model.save_pretrained(tmp_path)
    again = RegenerationModel.from_pretrained(tmp_path)
    assert dtypes(again) == [wide, half, whole, whole]
    for name, value in model.state_dict().items():
        assert again.state_dict()[name].dtype == value.dtype and torch.equal(again.state_dict()[name], value), name
    for asked in (whole, half, "bfloat16"):
        expected = whole if asked is whole else half
        assert dtypes(RegenerationModel.from_pretrained(tmp_path, dtype=asked)) == [expected] * 3 + [whole]
    assert dtypes(AutoModel.from_pretrained(tmp_path, dtype="auto")) == [wide, half, whole, whole]
    again.float().save_pretrained(tmp_path)
    assert dtypes(AutoModel.from_pretrained(tmp_path)) == [whole] * 4
    assert "own_dtype" not in (tmp_path / "config.json").read_text()


def test_a_part_alone_keeps_the_dtypes_within_it(tmp_path):
    text = BertModel(tiny.bert()).half()
    AutoregressiveGenerator.from_components(tiny.gpt2(), (8, 8), 12, text).save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path)
    assert (again.source_encoder.encoder.dtype, again.language_model.dtype) == (torch.float16, torch.float32)


@pytest.mark.parametrize("wrong", ["load", "float33", 3])
def test_a_dtype_is_one_of_torch(wrong, tmp_path):
    tiny.code_prior().save_pretrained(tmp_path)
    described = json.loads((tmp_path / "config.json").read_text())
    described["language_model_config"]["own_dtype"] = wrong
    (tmp_path / "config.json").write_text(json.dumps(described))
    match = f"`language_model_config.own_dtype` of .* must be the name of a dtype of torch, got {wrong!r}"
    with pytest.raises(ValueError, match=match):
        AutoModel.from_pretrained(tmp_path)


def shorter(model: BertModel) -> BertModel:
    model.encoder.layer = model.encoder.layer[:1]
    return model


def with_another(model: BertModel) -> BertModel:
    model.encoder.layer[0].intermediate.intermediate_act_fn = nn.Tanh()
    return model


def wider(model: BertModel) -> BertModel:
    model.embeddings.word_embeddings = nn.Embedding(99, 16)
    return model


def with_one_more(model: BertModel) -> BertModel:
    model.extra = nn.Linear(2, 2)
    return model


def sharing(model: BertModel) -> BertModel:
    model.encoder.layer[1] = model.encoder.layer[0]
    return model


def sharing_values(model: BertModel) -> BertModel:
    first, second = (layer.output.dense.weight for layer in model.encoder.layer)
    second.data = first.data
    return model


LIVE = {
    "without a pooler": (lambda model: BertModel(model.config, add_pooling_layer=False), "pooler.dense.* is missing"),
    "without a layer": (shorter, "layer.1.* is missing, but of shape"),
    "with another activation": (with_another, "intermediate_act_fn of .* is Tanh, but GELUActivation by its config"),
    "with a larger table": (wider, r"word_embeddings.weight of .* is of shape \(99, 16\), but of shape \(\d+, 16\)"),
    "with one more": (with_one_more, "extra.* is of shape"),
    "one layer twice": (sharing, "layer.0.* and .*layer.1.* are one and the same, but would be two"),
    "one value twice": (sharing_values, "layer.0.* and .*layer.1.* are one and the same, but would be two"),
}


@pytest.mark.parametrize("kind", LIVE)
def test_what_could_not_be_loaded_again_is_refused_when_it_is_put_together(kind):
    change, match = LIVE[kind]
    config = tiny.bert()
    config.num_hidden_layers = 2
    encoder = change(BertModel(config))
    with pytest.raises(ValueError, match=match):
        DiffusionGenerator.from_components(tiny.sd3((4, 4, 4)), (4, 4, 4), encoder)


def test_a_change_after_that_is_seen_by_the_whole():
    prior = tiny.diffusion_prior((4, 4, 4))
    prior.source_encoder.encoder.pooler = None
    with pytest.raises(ValueError, match="prior.source_encoder.encoder.pooler.dense"):
        RegenerationModel.from_components(tiny.autoencoder_extractor(), prior)


def test_one_model_in_two_places_is_refused_and_a_copy_is_not():
    reader = ViTModel(vit())
    extractor = EncoderExtractor.from_components(reader)
    shape = extractor.config.representation_spec.shape

    def prior(encoder):
        return DiffusionGenerator.from_components(tiny.sd3(shape, patch_size=1), shape, encoder)

    decoder = DiffusionGenerator.from_components(
        tiny.unet(tiny.IMAGE, channels=19), tiny.IMAGE, source_shape=list(shape), condition_dropout=0.0
    )
    with pytest.raises(ValueError, match="extractor.encoder.* and prior.source_encoder.image_encoder.* are one and"):
        RegenerationModel.from_components(extractor, prior(reader), decoder)
    assert RegenerationModel.from_components(extractor, prior(copy.deepcopy(reader)), decoder)


def test_checking_draws_no_random_numbers_and_trains_nothing():
    prior = tiny.diffusion_prior((4, 4, 4)).train()
    state = torch.get_rng_state()
    assert prior.checked() is prior and prior.training
    assert torch.equal(torch.get_rng_state(), state)


def test_marian_reloads(tmp_path):
    """Whose decoder is built of another size of vocabulary than other decoders."""
    config = MarianConfig(
        vocab_size=64, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, pad_token_id=63,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, decoder_start_token_id=63, eos_token_id=0,
    )  # fmt: skip
    MarianMTModel(config).save_pretrained(tmp_path / "marian")
    prior = load_generator(str(tmp_path / "marian"), RepresentationSpec((4, 4), 12)).eval()
    prior.save_pretrained(tmp_path / "prior")
    again = AutoModel.from_pretrained(tmp_path / "prior").eval()
    ids = torch.tensor([[3, 4, 5]])
    made = [each.generate(input_ids=ids, do_sample=False).values for each in (prior, again)]
    assert torch.equal(*made) and made[0].shape == (1, 4, 4)


def test_a_subclass_makes_a_config_of_its_own(tmp_path):
    class OwnDiffusionConfig(DiffusionGenerator.config_class):
        model_type = "regen_own_diffusion"
        sharpness: float = 1.0

    class OwnDiffusion(DiffusionGenerator):
        config_class = OwnDiffusionConfig

    class OwnRegenerationConfig(RegenerationModel.config_class):
        model_type = "regen_own_regeneration"

    class OwnRegeneration(RegenerationModel):
        config_class = OwnRegenerationConfig

    prior = OwnDiffusion.from_components(tiny.dit((4, 4, 4)), (4, 4, 4), num_classes=5, sharpness=2.0)
    assert type(prior.config) is OwnDiffusionConfig and prior.config.sharpness == 2.0
    prior.save_pretrained(tmp_path)
    assert OwnDiffusion.from_pretrained(tmp_path).config.sharpness == 2.0
    with pytest.raises(TypeError, match="`sharpnes` is no setting of OwnDiffusionConfig; did you mean `sharpness`"):
        OwnDiffusion.from_components(tiny.dit((4, 4, 4)), (4, 4, 4), num_classes=5, sharpnes=2.0)
    prior = DiffusionGenerator.from_components(tiny.dit((4, 4, 4)), (4, 4, 4), num_classes=5)
    whole = OwnRegeneration.from_components(tiny.autoencoder_extractor(), prior)
    assert type(whole.config) is OwnRegenerationConfig


def test_no_from_components_names_a_config():
    """It would overlook the config of a subclass."""
    source = Path(regen_hf.__file__).parent
    for file in source.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name in ("from_components", "_from_parts", "from_texts"):
                called = {ast.unparse(each.func) for each in ast.walk(node) if isinstance(each, ast.Call)}
                assert not {name for name in called if name.endswith("Config")}, file


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    "reference, match",
    [
        ({"name": "{folder}", "revision": COMMIT, "subfolder": ""}, "`name` .*must be a repository on the Hub"),
        ({"name": "../x", "revision": COMMIT}, "`name` .*must be a repository on the Hub"),
        ({"name": "local/model", "revision": COMMIT}, "is a folder"),
        ({"name": "user/model", "revision": "main"}, "must have a commit as its revision, got 'main'"),
        ({"name": "user/model"}, "must have a commit as its revision, got None"),
        ({"name": "user/model", "revision": COMMIT, "subfolder": "../x"}, "`subfolder` must be a path that stays"),
        ({"name": "user/model", "revision": COMMIT, "trust_remote_code": True}, "must have a name, a revision and"),
        ("user/model", "must have a name, a revision and a subfolder, got 'user/model'"),
    ],
)
def test_a_reference_in_a_config_names_a_commit_of_the_hub(reference, match, tmp_path, monkeypatch):
    folder = tmp_path / "local" / "model"
    tiny.dc().save_pretrained(folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(part_module, "load_pretrained", lambda *args, **kwargs: pytest.fail("it was followed"))
    tiny.autoencoder_extractor().save_pretrained(tmp_path / "saved")
    described = json.loads((tmp_path / "saved" / "config.json").read_text())
    if isinstance(reference, dict):
        reference = {**reference, "name": reference["name"].format(folder=folder)}
    described["autoencoder_config"]["reference"] = reference
    (tmp_path / "saved" / "config.json").write_text(json.dumps(described))
    with pytest.raises(ValueError, match=match):
        AutoModel.from_pretrained(tmp_path / "saved")


def test_how_the_hub_is_reached_holds_for_references(tmp_path, monkeypatch):
    asked, net = {}, tiny.dc()

    def load(name, load, **kwargs):
        asked.update(kwargs, name=name)
        return DiffusersModule.wrap(net)

    monkeypatch.setattr(part_module, "load_pretrained", load)
    tiny.autoencoder_extractor().save_pretrained(tmp_path)
    described = json.loads((tmp_path / "config.json").read_text())
    described["autoencoder_config"]["reference"] = {"name": "user/dc", "revision": COMMIT, "subfolder": "vae"}
    (tmp_path / "config.json").write_text(json.dumps(described))
    given = {"token": "secret", "cache_dir": "cache", "local_files_only": True, "force_download": True, "proxies": {}}
    loaded = AutoencoderExtractor.from_pretrained(tmp_path, **given)
    asked.pop("config")
    assert asked == {**given, "name": "user/dc", "revision": COMMIT, "subfolder": "vae"}
    assert torch.equal(loaded.autoencoder.net.decoder.conv_in.weight, net.decoder.conv_in.weight)


def test_a_model_comes_of_a_state_dict():
    model = tiny.code_prior()
    made = AutoregressiveGenerator.from_pretrained(None, config=model.config, state_dict=model.state_dict())
    assert torch.equal(made.source_encoder.null, model.source_encoder.null)
    weights = model.state_dict()
    weights.pop("source_encoder.null")
    with pytest.raises(ValueError, match="missing weights: source_encoder.null"):
        AutoregressiveGenerator.from_pretrained(None, config=model.config, state_dict=weights)


def test_a_pickle_cannot_be_asked_for(tmp_path):
    tiny.code_prior().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="`use_safetensors` must be True"):
        AutoModel.from_pretrained(tmp_path, use_safetensors=False)
