"""How fast the generators sample, each against what does the same without the library, in one run."""

import torch
from ratios import bare_condition, bare_sampling, demo_model, side_by_side, timed
from transformers import BertConfig, GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

from regen_hf import AutoregressiveGenerator, MaskedGenerator

CODES, GRID = 1024, (16, 16)


def autoregressive_generation(batch_size: int = 8, length: int = 96, rounds: int = 5) -> float:
    """Tokens/s of `AutoregressiveGenerator`, by those of transformers' `generate` on the same T5 weights."""
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=CODES, d_model=256, d_kv=32, d_ff=1024, num_layers=4, num_heads=8, decoder_start_token_id=0
    )
    model = T5ForConditionalGeneration(config).eval()
    prior = AutoregressiveGenerator.from_components(model, (length,), CODES).eval()
    source = {"input_ids": torch.randint(CODES, (batch_size, 16)), "attention_mask": torch.ones(batch_size, 16).long()}
    same = {"do_sample": True, "top_k": 0}
    exactly = {"min_new_tokens": length, "max_new_tokens": length}

    def by_hand() -> None:
        assert model.generate(**source, **same, **exactly).shape == (batch_size, length + 1)

    def by_library() -> None:
        assert prior.generate(**source, **same).values.shape == (batch_size, length)

    by_hand()
    by_library()
    return side_by_side(lambda: timed(by_hand), lambda: timed(by_library), rounds)


def masked_decoding(width: int, layers: int = 6, batch_size: int = 1, rounds: int = 5, steps: int = 12) -> float:
    """Tokens/s of masked decoding, by those of autoregressive decoding with a cache: 16 × 16 codes, a class as source,
    transformer blocks of the same width and number."""
    torch.manual_seed(0)
    decoder = GPT2LMHeadModel(GPT2Config(n_positions=260, n_embd=width, n_layer=layers, n_head=width // 32))
    one = AutoregressiveGenerator.from_components(decoder, GRID, CODES, num_classes=10).eval()
    encoder = BertConfig(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=width // 32, intermediate_size=4 * width,
        max_position_embeddings=260,
    )  # fmt: skip
    all_at_once = MaskedGenerator.from_components(encoder, GRID, CODES, num_classes=10).eval()
    labels = torch.arange(batch_size)[:, None] % 10

    def autoregressive() -> None:
        one.generate(class_labels=labels)

    def masked() -> None:
        all_at_once.generate(class_labels=labels, num_inference_steps=steps)

    masked()
    return side_by_side(lambda: timed(autoregressive), lambda: timed(masked), rounds)


def diffusion_sampling(batch_size: int = 32, rounds: int = 7, steps: int = 20) -> float:
    """Samples/s of `DiffusionGenerator.generate`, by those of a bare diffusers loop over the same backbone, with
    guidance: the demo's prior."""
    model, processor = demo_model()
    prior = model.prior.eval()
    source = processor(source=["red heart", "blue cat", "green dog", "black star"] * (batch_size // 4))

    def by_hand() -> None:
        bare_sampling(prior, bare_condition(prior, source), steps)

    def by_library() -> None:
        prior.generate(**source, num_inference_steps=steps, guidance=2.0)

    with torch.no_grad():
        by_hand()
        return side_by_side(lambda: timed(by_hand), lambda: timed(by_library), rounds)
