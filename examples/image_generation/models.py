"""Six ways to the same picture: each a regenerator in some ten lines."""

from backbones import small_autoencoder, word_embeddings
from diffusers import SD3Transformer2DModel, UNet2DModel, VQModel
from torch.nn import init
from transformers import BertConfig, GPT2Config

from regen_hf import (
    AutoencoderExtractor,
    AutoregressiveGenerator,
    DiffusionGenerator,
    DownsampleExtractor,
    IdentityExtractor,
    MaskedGenerator,
    RegenerationModel,
)

WIDTH, HEADS = 128, 4


def latents(size: int, text) -> RegenerationModel:
    """Text → latents of an autoencoder → picture; both maps learned."""
    extractor = AutoencoderExtractor.from_components(small_autoencoder(16), target_shape=(3, size, size))
    prior = transformer_prior(extractor.config.representation_shape, text, patch_size=size // 32)
    return RegenerationModel.from_components(extractor, prior)


def quantised(size: int) -> AutoencoderExtractor:
    """The codes of a vector-quantising autoencoder."""
    autoencoder = VQModel(
        block_out_channels=(32, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=16,
        num_vq_embeddings=512,
        vq_embed_dim=8,
        norm_num_groups=8,
        mid_block_add_attention=False,
    )
    return AutoencoderExtractor.from_components(autoencoder, target_shape=(3, size, size), kind="codes")


def codes(size: int, text) -> RegenerationModel:
    """Text → codes, autoregressively → picture."""
    extractor = quantised(size)
    shape, num_codes = extractor.config.representation_shape, extractor.config.num_codes
    decoder = GPT2Config(
        n_positions=shape[0] * shape[1],
        n_embd=192,
        n_layer=6,
        n_head=HEADS,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
    )
    prior = AutoregressiveGenerator.from_components(
        decoder, shape, num_codes, word_embeddings(text, 192), generation={"guidance": 2.0, "temperature": 0.8}
    )
    return RegenerationModel.from_components(extractor, prior)


def masked(size: int, text) -> RegenerationModel:
    """Text → the same codes, all at once in a few steps → picture."""
    extractor = quantised(size)
    shape, num_codes = extractor.config.representation_shape, extractor.config.num_codes
    backbone = BertConfig(
        hidden_size=192,
        num_hidden_layers=6,
        num_attention_heads=HEADS,
        intermediate_size=4 * 192,
        max_position_embeddings=shape[0] * shape[1] + text.max_length,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    prior = MaskedGenerator.from_components(
        backbone, shape, num_codes, source_encoder=word_embeddings(text, 192), generation={"guidance": 2.0}
    )
    return RegenerationModel.from_components(extractor, prior)


def lowres(size: int, text) -> RegenerationModel:
    """Text → a picture of a quarter of the size, made by a rule → the full picture, by a diffusion decoder."""
    rule = DownsampleExtractor.from_components(target_shape=[3, size, size], factor=4)
    small = rule.config.representation_spec.shape
    prior = transformer_prior(small, text, patch_size=small[-1] // 4, prediction="sample")
    return RegenerationModel.from_components(rule, prior, larger(small[-1], size))


def cascade(size: int, text) -> RegenerationModel:
    """Text → a quarter of the size → half of it → the full picture: a chain of three links, the last two one model."""
    quarter = DownsampleExtractor.from_components(target_shape=[3, size, size], factor=4)
    half = DownsampleExtractor.from_components(target_shape=[3, size, size], factor=2)
    small = quarter.config.representation_spec.shape
    prior = transformer_prior(small, text, patch_size=small[-1] // 4, prediction="sample")
    links = RegenerationModel.from_components(half, larger(size // 4, size // 2), larger(size // 2, size))
    return RegenerationModel.from_components(quarter, prior, links)


def larger(small: int, size: int) -> DiffusionGenerator:
    """Diffusion of a picture, conditioned on a small one of it."""
    unet = UNet2DModel(
        sample_size=size,
        in_channels=6,
        out_channels=3,
        block_out_channels=(32, 64, 96),
        down_block_types=("DownBlock2D",) * 3,
        up_block_types=("UpBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=8,
        add_attention=False,
    )
    return DiffusionGenerator.from_components(
        unet, (3, size, size), source_shape=[3, small, small], source_noise=0.1, condition_dropout=0.0
    )


def identity(size: int, text, num_layers: int = 6) -> RegenerationModel:
    """Text → picture: the end-to-end baseline, of the same family of transformers."""
    same = IdentityExtractor.from_components(target_shape=[3, size, size])
    prior = transformer_prior((3, size, size), text, size // 4, num_layers=num_layers, prediction="sample")
    return RegenerationModel.from_components(same, prior)


def transformer_prior(shape, text, patch_size: int, num_layers: int = 6, **settings) -> DiffusionGenerator:
    """Flow matching by a transformer that attends to patches and words together (Esser et al., 2024)."""
    denoiser = SD3Transformer2DModel(
        sample_size=shape[-1],
        patch_size=patch_size,
        in_channels=shape[0],
        out_channels=shape[0],
        num_layers=num_layers,
        attention_head_dim=WIDTH // HEADS,
        num_attention_heads=HEADS,
        joint_attention_dim=WIDTH,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        pos_embed_max_size=shape[-1] // patch_size,
        qk_norm="rms_norm",
    )
    start_from_identity(denoiser)
    generation = {"guidance": 2.0, "num_inference_steps": 20}
    encoder = word_embeddings(text, WIDTH)
    return DiffusionGenerator.from_components(denoiser, tuple(shape), encoder, generation=generation, **settings)


def start_from_identity(denoiser: SD3Transformer2DModel) -> None:
    """adaLN-zero (Peebles and Xie, 2023): every block starts by passing its input on, and the output at zero."""
    ends = ("norm1.linear", "norm1_context.linear", "norm_out.linear", "proj_out")
    for name, layer in denoiser.named_modules():
        if name.endswith(ends):
            init.zeros_(layer.weight)
            init.zeros_(layer.bias)


REPRESENTATIONS = {
    "latents": latents,
    "codes": codes,
    "masked": masked,
    "lowres": lowres,
    "cascade": cascade,
    "identity": identity,
}
