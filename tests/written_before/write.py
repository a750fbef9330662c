"""Writes what is in this folder by the code of another commit, for test_written_before.py to read by that of today.

It was run at commit 2e1ea21, the last one before the modules moved into rooms; in a checkout of it at OLD:

PYTHONPATH=OLD/src:OLD/tests python tests/written_before/write.py
"""

import contextlib
import hashlib
import importlib
import json
import shutil
import signal
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, Features, Image, Value, load_from_disk
from diffusers import AutoencoderTiny, PixArtTransformer2DModel
from PIL import Image as PILImage
from transformers import AutoModel, BertConfig, GPT2Config, pipeline

import regen_hf
from regen_hf import (
    AdversarialLoss,
    AutoencoderExtractor,
    AutoregressiveGenerator,
    DiffusionGenerator,
    ImageModality,
    LabelModality,
    RegenerationModel,
    RegenerationProcessor,
    RegressionGenerator,
    StageArguments,
    TextModality,
    TokenAutoencoderExtractor,
    TrainingInterrupted,
    extract,
    train_regenerator,
)

HERE = Path(__file__).parent
COLORS = ["red", "green", "blue"]
TEXTS = ["red", "a green cat", "two blue dogs dancing", "red dogs", "one cat", "a blue dog and a green one", "two red",
         "cat"]  # fmt: skip
SIZE = 8
SOURCES = {"codes": TEXTS[:3], "latents": COLORS[:2]}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def shaken(model: RegenerationModel) -> RegenerationModel:
    """With no weight that is zero or one of many, so that each of them has a part in what is made."""
    for parameter in model.parameters():
        parameter.add_(0.2 * torch.randn(parameter.shape, generator=seeded(parameter.numel())))
    return model.eval()


def write_data() -> None:
    """Kept as a file, since PNG is not written alike by every version of Pillow."""
    pixels = np.random.default_rng(0).integers(0, 256, (len(TEXTS), SIZE, SIZE, 3), dtype=np.uint8)
    features = Features({"color": Value("string"), "text": Value("string"), "image": Image()})
    colors = [COLORS[i % len(COLORS)] for i in range(len(TEXTS))]
    images = [PILImage.fromarray(each) for each in pixels]
    Dataset.from_dict({"color": colors, "text": TEXTS, "image": images}, features=features).save_to_disk(HERE / "data")


def bert(**settings) -> BertConfig:
    return BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, max_position_embeddings=24,
        **settings,
    )  # fmt: skip


def of_codes() -> tuple[RegenerationModel, RegenerationProcessor]:
    """Text to text by way of finite scalar quantisation, autoregressively; the words of X have other numbers."""
    text, asked = TextModality.from_words(TEXTS), TextModality.from_words([*TEXTS, "I see"])
    words = len(text.tokenizer)
    extractor = TokenAutoencoderExtractor.from_components(bert(vocab_size=words), words, stride=2, levels=[3, 3])
    writer = GPT2Config(
        vocab_size=10, n_positions=8, n_embd=8, n_layer=1, n_head=2, add_cross_attention=True, bos_token_id=None,
        eos_token_id=None,
    )  # fmt: skip
    reader = bert(vocab_size=len(asked.tokenizer))
    prior = AutoregressiveGenerator.from_components(writer, (None,), 9, reader, max_places=4)
    return RegenerationModel.from_components(extractor, prior), RegenerationProcessor(asked, text)


def autoencoder() -> AutoencoderExtractor:
    tiny = AutoencoderTiny(
        encoder_block_out_channels=(2, 2), decoder_block_out_channels=(2, 2), num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1), latent_channels=2,
    )  # fmt: skip
    return AutoencoderExtractor.from_components(tiny, (3, SIZE, SIZE))


def colored() -> RegenerationProcessor:
    return RegenerationProcessor(LabelModality(COLORS), ImageModality(SIZE))


def of_latents() -> tuple[RegenerationModel, RegenerationProcessor]:
    """Classes to images by way of latents and flow matching, with defaults of `generate` of its own."""
    denoiser = PixArtTransformer2DModel(
        num_attention_heads=1, attention_head_dim=4, in_channels=2, out_channels=4, num_layers=1, caption_channels=4,
        cross_attention_dim=4, sample_size=4, patch_size=2, num_embeds_ada_norm=3, use_additional_conditions=False,
    )  # fmt: skip
    prior = DiffusionGenerator.from_components(denoiser, (2, 4, 4), num_classes=len(COLORS))
    settings = {"generation": {"guidance": 2.0, "num_inference_steps": 3}}
    return RegenerationModel.from_components(autoencoder(), prior, **settings), colored()


def rounded(values: torch.Tensor) -> list:
    return np.round(values.double().numpy(), 5).tolist() if values.is_floating_point() else values.tolist()


def made_by(folder: Path, sources: list) -> dict:
    """What a saved regenerator generates, as JSON; of codes the likeliest, since a seed draws others today."""
    pipe = pipeline("regeneration", model=str(folder))
    likeliest = {"do_sample": False, "min_new_tokens": 1, "guidance": 8.0} if folder.name == "codes" else {}
    inputs = pipe.processor(source=sources)
    output = pipe.model.generate(**inputs, return_representation=True, generator=seeded(), **likeliest)
    shown = pipe(sources, batch_size=len(sources), generator=seeded(), **likeliest)
    return {
        "representation": rounded(output.representation.values),
        "representation_mask": None if output.representation.mask is None else output.representation.mask.tolist(),
        "values": rounded(output.values),
        "shown": [each["text"] if "text" in each else np.asarray(each["image"]).tolist() for each in shown],
    }


def write_models() -> None:
    made = {}
    for name, build in {"codes": of_codes, "latents": of_latents}.items():
        torch.manual_seed(0)
        model, processor = build()
        pipe = pipeline("regeneration", model=shaken(model), processor=processor)
        pipe.save_pretrained(HERE / name)
        made[name] = made_by(HERE / name, SOURCES[name])
    (HERE / "made.json").write_text(json.dumps(made))


def extracted(folder: Path):
    """Y′ of the texts, of as many codes as each needs."""
    extractor = AutoModel.from_pretrained(HERE / "codes").extractor
    text = regen_hf.RegenerationProcessor.from_pretrained(HERE / "codes").target
    data = load_from_disk(str(HERE / "data"))
    return extract(extractor, text, data, "text", folder, columns=["color"], batch_size=2)


def write_caches() -> None:
    """One that is finished, and one with the first of its two shards."""
    shards = importlib.import_module("regen_hf.shards")
    extracted(HERE / "cache")
    whole, shards.SHARD_ROWS = shards.SHARD_ROWS, 4
    encode = TokenAutoencoderExtractor.encode
    batches = iter(range(3))

    def stopped(*given, **named):
        if next(batches, None) is None:
            raise InterruptedError
        return encode(*given, **named)

    TokenAutoencoderExtractor.encode = stopped
    with contextlib.suppress(InterruptedError):
        extracted(HERE / "begun")
    TokenAutoencoderExtractor.encode, shards.SHARD_ROWS = encode, whole


def learner() -> tuple[RegenerationModel, AdversarialLoss]:
    extractor = autoencoder()
    prior = RegressionGenerator.from_components(bert(vocab_size=2), (2, 4, 4), num_classes=len(COLORS))
    return RegenerationModel.from_components(extractor, prior), AdversarialLoss(width=2, num_layers=1)


def stages() -> dict[str, StageArguments]:
    shared = {"batch_size": 3, "ema_decay": 0.5, "warmup_steps": 1, "learning_rate": 1e-2}
    return {
        "extractor": StageArguments(3, **shared),
        "prior": StageArguments(6, optimizer="muon", lr_scheduler="cosine", gradient_accumulation_steps=2, **shared),
        "joint": StageArguments(2, **shared),
    }


def trained(folder: Path, model: RegenerationModel, loss: AdversarialLoss, **settings) -> list:
    data = load_from_disk(str(HERE / "data"))
    return train_regenerator(
        model, colored(), data, folder, source_column="color", target_column="image", extractor_losses=[loss],
        **stages(), **settings,
    )  # fmt: skip


def write_run() -> None:
    """Three stages: one finished, one stopped by Ctrl-C after 3 of its 6 steps, one not begun."""
    torch.manual_seed(0)
    model, loss = learner()
    calls = iter(range(6))  # 2 in a step

    def press_ctrl_c(*_):
        if next(calls, None) == 5:
            signal.raise_signal(signal.SIGINT)

    model.prior.register_forward_pre_hook(press_ctrl_c)
    with contextlib.suppress(TrainingInterrupted):
        trained(HERE / "run", model, loss)


def digest(model: torch.nn.Module) -> str:
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    return hashlib.sha256(json.dumps(shapes, sort_keys=True).encode()).hexdigest()[:16]


def instances() -> dict[str, torch.nn.Module]:
    """A tiny one of every class that the library registers, by the builders of the tests."""
    import named_extractors
    import named_generators
    import tiny
    from diffusers import AutoencoderTiny
    from transformers import Wav2Vec2BertConfig, Wav2Vec2ForCTC

    text = TextModality.from_words(TEXTS)
    mel, wave = named_generators.MEL, named_generators.WAVE
    books, grid = named_generators.BOOKS, named_generators.GRID
    conformer = Wav2Vec2BertConfig(
        hidden_size=16, feature_projection_input_dim=12, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, conv_depthwise_kernel_size=3,
    )  # fmt: skip
    built = [
        regen_hf.DiffusersModule.wrap(AutoencoderTiny(latent_channels=4)),
        tiny.autoencoder_extractor(tiny.vq(), "codes"),
        regen_hf.CodecExtractor.from_components(named_extractors.encodec(), max_samples=64),
        tiny.downsample(),
        regen_hf.EncoderExtractor.from_components(tiny.vit(), pooled=True),
        regen_hf.HarmonyExtractor.from_components(),
        tiny.identity(),
        regen_hf.KeywordExtractor.from_tokenizer(text.tokenizer, ["a", "and"]),
        named_generators.log_mel(),
        regen_hf.PhonemeExtractor.from_texts(TEXTS, text.tokenizer),
        TokenAutoencoderExtractor.from_components(tiny.bert(), 16, length=8, drop=0.2),
        regen_hf.AlignedDiffusionGenerator.from_components(
            named_generators.long_cat(), (4, None), tiny.bert(), num_classes=3
        ),
        AutoregressiveGenerator.for_spec(tiny.gpt2(), books, None, order="delay", max_places=24, num_classes=3),
        regen_hf.CTCGenerator.for_spec(Wav2Vec2ForCTC(tiny.wav2vec2()), regen_hf.RepresentationSpec((None,), 12), None),
        DiffusionGenerator.for_spec(tiny.sd3(grid.shape), grid, None, num_classes=3, scheduler="DDIMScheduler"),
        regen_hf.GriffinLimGenerator.for_extractor(named_generators.log_mel().config),
        regen_hf.InverseSTFTGenerator.for_spec(conformer, wave, mel),
        regen_hf.MaskedGenerator.for_spec(named_generators.encoder(), named_generators.CODES, None, num_classes=3),
        RegressionGenerator.for_spec(named_generators.encoder(), grid, None, num_classes=3),
        regen_hf.VocoderGenerator.for_spec(named_generators.speech_t5(), wave, mel),
        tiny.lowres_model(),
    ]
    return {type(each).__name__: each for each in built}


def write_configs() -> None:
    """What the config.json of each class holds, and what its tensors are called and how large they are."""
    found = instances()
    files = {name: {"config": json.loads(found[name].config.to_json_string())} for name in sorted(found)}
    for name, file in files.items():
        file["tensors"] = digest(found[name])
    (HERE / "configs.json").write_text(json.dumps(files, ensure_ascii=False))


def main() -> None:
    for path in HERE.iterdir():
        if path != Path(__file__):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_data()
    write_models()
    write_caches()
    write_run()
    write_configs()


if __name__ == "__main__":
    main()
