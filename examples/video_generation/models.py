"""Three ways from a sentence to a clip: each a regenerator in some fifteen lines."""

from backbones import small_autoencoder, word_embeddings
from diffusers import WanTransformer3DModel
from torch.nn import init

from regen_hf import AutoencoderExtractor, DiffusionGenerator, DownsampleExtractor, IdentityExtractor, RegenerationModel

WIDTH, HEADS = 128, 4
PATCH = (4, 8, 8)
"""Frames and pixels that are one token of the end-to-end baseline."""
FRAMES = 2
"""How many frames of each clip a step of the autoencoder learns from."""


def latents(clip: tuple[int, int, int, int], text) -> RegenerationModel:
    """Text → latents of each frame → clip; both maps learned."""
    autoencoder = small_autoencoder(8)
    extractor = AutoencoderExtractor.from_components(autoencoder, clip, frame_by_frame=True, learned_frames=FRAMES)
    shape = extractor.config.representation_spec.shape
    prior = flow(shape, patch=(2, 2, 2), text=text)
    return RegenerationModel.from_components(extractor, prior)


def lowres(clip: tuple[int, int, int, int], text) -> RegenerationModel:
    """Text → a clip of a quarter of the size and of the frames, by a rule → the full one, by a diffusion decoder."""
    rule = DownsampleExtractor.from_components(target_shape=list(clip), factor=4)
    small = rule.config.representation_spec.shape
    prior = flow(small, patch=(2, 2, 2), text=text, prediction="sample")
    decoder = flow(clip, patch=(4, 4, 4), source_shape=list(small), source_noise=0.1, prediction="sample")
    return RegenerationModel.from_components(rule, prior, decoder)


def identity(clip: tuple[int, int, int, int], text, layers: int = 6) -> RegenerationModel:
    """Text → clip: the end-to-end baseline, of the same family of transformers."""
    same = IdentityExtractor.from_components(target_shape=list(clip))
    return RegenerationModel.from_components(same, flow(clip, PATCH, text, layers=layers, prediction="sample"))


def flow(shape, patch: tuple[int, int, int], text=None, layers: int = 6, **settings) -> DiffusionGenerator:
    """Flow matching by a transformer over space-time patches, conditioned on words or on a smaller clip."""
    channels = shape[0] + (0 if text else settings["source_shape"][0])
    denoiser = WanTransformer3DModel(
        patch_size=patch,
        num_attention_heads=HEADS,
        attention_head_dim=WIDTH // HEADS,
        in_channels=channels,
        out_channels=shape[0],
        text_dim=WIDTH,
        freq_dim=WIDTH,
        ffn_dim=4 * WIDTH,
        num_layers=layers,
        rope_max_seq_len=32,
    )
    init.zeros_(denoiser.proj_out.weight)
    if text is None:
        return DiffusionGenerator.from_components(denoiser, tuple(shape), condition_dropout=0.0, **settings)
    generation = {"guidance": 2.0, "num_inference_steps": 20}
    return DiffusionGenerator.from_components(
        denoiser, tuple(shape), word_embeddings(text, WIDTH), generation=generation, **settings
    )


REPRESENTATIONS = {"latents": latents, "lowres": lowres, "identity": identity}
