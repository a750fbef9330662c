import functools
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import datasets
import PIL.Image
import pytest
import tiny
import tiny_autoencoders
import torch
from diffusers import LongCatAudioDiTTransformer
from named_extractors import EYE, dac, encodec
from transformers import (
    AutoModel,
    BertConfig,
    CLIPVisionConfig,
    Dinov2Config,
    SpeechT5HifiGanConfig,
    T5EncoderModel,
    UMT5Config,
)

from regen_hf import RegenerationModel, RepresentationSpec

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "known_systems"
sys.path.insert(0, str(FOLDER))
SYSTEMS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "rules")
RANDOM = torch.Generator().manual_seed(0)
MEL = {"n_fft": 64, "hop_length": 32, "win_length": 64, "num_mels": 8}

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass
class Case:
    """Tiny parts of a system, two examples of its X and Y, and what its `generate` is given beside X."""

    parts: Callable[[], dict]
    source: dict[str, torch.Tensor]
    target: torch.Tensor
    links: int = 1
    shape: tuple[int | None, ...] | None = None
    options: dict = field(default_factory=dict)


def text() -> dict[str, torch.Tensor]:
    return {"input_ids": torch.tensor([[1, 2, 3], [4, 5, 1]]), "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]])}


def classes() -> dict[str, torch.Tensor]:
    return {"class_labels": torch.tensor([[0], [3]])}


def image(size: int = 16) -> torch.Tensor:
    return torch.rand(2, 3, size, size, generator=RANDOM) * 2 - 1


def wave(samples: int) -> torch.Tensor:
    return torch.randn(2, 1, samples, generator=RANDOM) / 10


def sound() -> dict[str, torch.Tensor]:
    return {"input_values": wave(200)[:, 0]}


def tokens(number: int, length: int) -> torch.Tensor:
    return torch.randint(number, (2, length), generator=RANDOM)


def bert(positions: int = 96) -> BertConfig:
    return BertConfig(
        vocab_size=16, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=positions,
    )  # fmt: skip


def frozen_t5() -> T5EncoderModel:
    return T5EncoderModel(tiny.t5()).requires_grad_(False)


def vocoder() -> SpeechT5HifiGanConfig:
    return SpeechT5HifiGanConfig(
        model_in_dim=8, upsample_initial_channel=8, upsample_rates=[8, 4], upsample_kernel_sizes=[16, 8],
        resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1, 3]],
    )  # fmt: skip


def mel_denoiser() -> LongCatAudioDiTTransformer:
    return LongCatAudioDiTTransformer(
        latent_dim=8, dit_dim=16, dit_depth=1, dit_heads=2, dit_text_dim=16, cross_attn=False, text_conv=False
    )


def clip_vision() -> CLIPVisionConfig:
    return CLIPVisionConfig(**EYE, projection_dim=16, architectures=["CLIPVisionModelWithProjection"])


def unclip() -> dict:
    return {
        "image_encoder": clip_vision(), "text_encoder": tiny.clip(), "denoiser": tiny.prior_transformer(),
        "unet": tiny.unet((4, 8, 8)), "size": 16,
    }  # fmt: skip


def speech() -> dict:
    return {"unit_encoder": tiny.wav2vec2(), "num_units": 6, "layer": 1}


STEPS = {"num_inference_steps": 2}
CASES = {
    "dalle": Case(lambda: {"autoencoder": tiny.vq(), "writer": tiny.gpt2(n_positions=80), "size": 16, "num_words": 16},
                  text(), image()),
    "llamagen": Case(
        lambda: {"autoencoder": tiny.vq(), "writer": tiny.llama(max_position_embeddings=80), "size": 16,
                 "num_classes": 5}, classes(), image()),
    "maskgit": Case(lambda: {"autoencoder": tiny.vq(), "backbone": bert(), "size": 16, "num_classes": 5},
                    classes(), image(), options=STEPS),
    "muse": Case(lambda: {"autoencoder": tiny.vq(), "backbone": bert(), "text_encoder": frozen_t5(), "size": 16},
                 text(), image(), options=STEPS),
    "latent_diffusion": Case(
        lambda: {"autoencoder": tiny.kl(), "denoiser": tiny.unet((4, 8, 8)), "text_encoder": tiny.clip(), "size": 16},
        text(), image(), options=STEPS),
    "unclip": Case(lambda: {**unclip(), "autoencoder": tiny.kl()}, text(), image(), 2,
                   options={**STEPS, "decoder_kwargs": STEPS}),
    "kandinsky": Case(lambda: {**unclip(), "autoencoder": tiny.vq()}, text(), image(), 2,
                      options={**STEPS, "decoder_kwargs": STEPS}),
    "stable_cascade": Case(
        lambda: {"compressor": tiny.dc(), "autoencoder": tiny.kl(), "text_encoder": tiny.t5(),
                 "stage_c": tiny.sd3((4, 4, 4)), "stage_b": tiny.unet((4, 8, 8), channels=8), "size": 16},
        text(), image(), 2, options={**STEPS, "decoder_kwargs": STEPS}),
    "rae": Case(lambda: {"autoencoder": tiny_autoencoders.rae(), "denoiser": tiny.dit((64, 2, 2)), "num_classes": 5},
                classes(), image(), options=STEPS),
    "rcg": Case(
        lambda: {"image_encoder": Dinov2Config(**EYE), "denoiser": tiny.prior_transformer(), "autoencoder": tiny.vq(),
                 "backbone": bert(), "size": 16},
        {}, image(), 2, options={"batch_size": 2, **STEPS, "decoder_kwargs": STEPS}),
    "fastspeech": Case(lambda: {"text_encoder": bert(), "backbone": bert(), "vocoder": vocoder(), "num_samples": 640,
                                **MEL}, text(), wave(640), shape=(1, 672)),
    "grad_tts": Case(lambda: {"text_encoder": bert(), "denoiser": mel_denoiser(), "vocoder": vocoder(), **MEL},
                     text(), wave(640), shape=(1, None), options=STEPS),
    "musicgen": Case(lambda: {"codec": encodec(), "writer": tiny.gpt2(), "text_encoder": tiny.t5(), "max_places": 12},
                     text(), wave(80), shape=(1, None)),
    "parler": Case(lambda: {"codec": dac(), "writer": tiny.gpt2(), "text_encoder": tiny.t5(), "max_places": 12},
                   text(), wave(80), shape=(1, None)),
    "audiolm": Case(
        lambda: {**speech(), "codec": dac(), "audio_encoder": tiny.wav2vec2(), "writer": tiny.gpt2(n_positions=160),
                 "seconds": 0.05}, sound(), wave(400), 2, shape=(1, None)),
    "bark": Case(
        lambda: {**speech(), "codec": dac().config, "writer": tiny.gpt2(n_positions=160), "num_words": 16,
                 "seconds": 0.03}, text(), wave(400), 3, shape=(1, None)),
    "telemelody": Case(lambda: {"lyrics": tiny.bart_both(), "notes": tiny.gpt2(), "beats": 16},
                       text(), tokens(128, 16), shape=(None,)),
    "meloform": Case(lambda: {"notes": tiny.gpt2(), "refiner": bert(), "num_forms": 5, "beats": 16},
                     classes(), tokens(128, 16), options={"decoder_kwargs": STEPS}),
    "plan_then_write": Case(
        lambda: {"planner": tiny.gpt2(), "writer": tiny.gpt2(), "num_words": 16, "rare_from": 8,
                 "max_places": (12, 16)}, text(), tokens(16, 12), shape=(None,)),
    "phoneme_recognition": Case(
        lambda: {"audio_encoder": tiny.wav2vec2(), "writer": tiny.gpt2(), "max_places": 12},
        sound(), tokens(28, 10), shape=(None,)),
    "latent_video_diffusion": Case(
        lambda: {"autoencoder": tiny_autoencoders.wan(), "denoiser": tiny.wan(), "clip": tiny_autoencoders.VIDEO,
                 "text_encoder": UMT5Config(**tiny.t5().to_diff_dict())},
        text(), torch.rand(2, *tiny_autoencoders.VIDEO, generator=RANDOM) * 2 - 1, options=STEPS),
    "cascade": Case(
        lambda: {"base": tiny.unet((3, 4, 4)), "larger": tiny.unet((3, 16, 16), channels=6), "text_encoder": tiny.t5(),
                 "size": 16}, text(), image(), options={**STEPS, "decoder_kwargs": STEPS}),
}  # fmt: skip


def build(name: str) -> RegenerationModel:
    model = importlib.import_module(name).build(**CASES[name].parts())
    if getattr(model.extractor.config, "num_codes", None) and hasattr(model.extractor, "fit_units"):
        model.extractor.fit_units([CASES[name].target])
    return model


def copied(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def changed(module: torch.nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {key for key, value in module.state_dict().items() if not torch.equal(value, before[key])}


def generators(model: RegenerationModel) -> list[torch.nn.Module]:
    """The prior and what stands in the decoder's slot, of each link."""
    decoder = model.decoder_model
    rest = generators(decoder) if isinstance(decoder, RegenerationModel) else [decoder] if decoder is not None else []
    return [model.prior, *rest]


def sample(model: RegenerationModel, case: Case):
    return model.generate(
        **case.source, **case.options, return_representation=True, generator=torch.Generator().manual_seed(0)
    )


def test_there_is_a_case_for_each_file():
    assert sorted(CASES) == SYSTEMS


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_is_short(name):
    assert len((FOLDER / f"{name}.py").read_text().splitlines()) <= 30


@pytest.mark.parametrize("name", SYSTEMS)
def test_builds_trains_and_generates(name, tmp_path):
    case, model = CASES[name], build(name)
    assert isinstance(model, RegenerationModel)
    extracting, parts = copied(model.extractor), generators(model)
    before = [copied(part) for part in parts]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(5):
        loss = model.train()(target=case.target, **case.source).loss
        assert torch.isfinite(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert not changed(model.extractor, extracting)
    for part, own in zip(parts, before, strict=True):
        moved, frozen = changed(part, own), {key for key, each in part.named_parameters() if not each.requires_grad}
        assert moved and not moved & frozen

    output = sample(model.eval(), case)
    shape = case.shape or tuple(case.target.shape[1:])
    assert len(output.values) == 2 and output.values.dim() == 1 + len(shape)
    assert all(size in (None, made) for size, made in zip(shape, output.values.shape[1:], strict=True))
    assert len(output.representations) == case.links
    link = model
    for made in output.representations:
        spec = link.extractor.config.representation_spec
        assert all(size in (None, own) for size, own in zip(spec.shape, made.values.shape[1:], strict=True))
        assert spec.num_codes is None or 0 <= made.values.min() <= made.values.max() < spec.num_codes
        link = link.decoder_model

    model.save_pretrained(tmp_path)
    again = sample(AutoModel.from_pretrained(tmp_path).eval(), case)
    torch.testing.assert_close(again.values, output.values, rtol=1e-3, atol=1e-5)


def test_the_rule_leaves_out_keeps_and_maps():
    rules = importlib.import_module("rules")
    tokens, mask = torch.tensor([[3, 9, 4, 7], [1, 2, 9, 9]]), torch.tensor([[True] * 4, [True, True, False, False]])
    rare = rules.TokenRuleExtractor.from_components(num_codes=10, keep_from=4).encode(tokens, mask)
    assert rare.values.tolist() == [[9, 4, 7], [1, 0, 0]]
    assert rare.mask.tolist() == [[True] * 3, [True, False, False]]
    odd = rules.TokenRuleExtractor.from_components(num_codes=10, length=4, every=2, table=[0, 1] * 5)
    assert odd.encode(tokens).values.tolist() == [[1, 0], [1, 1]] and odd.encode(tokens).mask is None
    assert odd.config.representation_spec == RepresentationSpec((2,), 2)


@pytest.mark.slow
def test_importing_downloads_nothing():
    code = f"""
import socket, sys
def refuse(*args, **kwargs): raise AssertionError("the network was used")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
sys.path.insert(0, {str(FOLDER)!r})
for name in {SYSTEMS!r}: assert callable(__import__(name).build)
"""
    environment = {**os.environ, "HF_HUB_OFFLINE": "0"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=120)


def test_the_page_names_the_files_that_there_are():
    rows = re.findall(r"^\| \[.*\]\((\w+)\.py\) \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert sorted(rows) == SYSTEMS
    named = set(re.findall(r"\b(\w+)\.py\b", (FOLDER / "README.md").read_text()))
    assert named == {*SYSTEMS, "rules"}


@pytest.mark.slow
def test_the_classes_that_the_page_names_fill_the_slots():
    for line in (FOLDER / "README.md").read_text().splitlines():
        if not (found := re.match(r"\| \[.*\]\((\w+)\.py\) \|", line)):
            continue
        model, slots = build(found[1]), [set(re.findall(r"`(\w+)`", cell)) for cell in line.split("|")[3:6]]
        decoders = generators(model)[1:]
        inner, extractors = model, set()
        while isinstance(inner := inner.decoder_model, RegenerationModel):
            extractors.add(type(inner.extractor).__name__)
        assert {type(model.extractor).__name__} <= slots[0] and {type(model.prior).__name__} <= slots[1], found[1]
        assert {type(each).__name__ for each in decoders} | extractors == slots[2], found[1]


def test_the_code_of_the_page_trains(tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)[1]
    assert len(code.splitlines()) <= 12
    pictures = [PIL.Image.effect_noise((20, 20), 10 + i).convert("RGB") for i in range(6)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = datasets.Dataset.from_dict({"image": pictures, "label": [0, 1] * 3}, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: rows)
    maskgit = importlib.import_module("maskgit")
    monkeypatch.setattr(maskgit, "build", functools.partial(maskgit.build, **CASES["maskgit"].parts()))
    for large, small in (("100_000", "2"), ("256", "16"), ("outputs/maskgit", str(tmp_path / "run"))):
        assert large in code
        code = code.replace(large, small)
    exec(code, {})
    model = AutoModel.from_pretrained(tmp_path / "run" / "model")
    assert isinstance(model, RegenerationModel) and model.prior.config.num_classes == 2
