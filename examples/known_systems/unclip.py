"""unCLIP, or DALL·E 2 (Ramesh et al., 2022): text → CLIP image embedding → VAE latents → image.

The decoder is a chain by way of latents, where unCLIP makes a small picture and enlarges it.
"""

from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from regen_hf import (
    AutoencoderExtractor,
    DiffusersModuleConfig,
    DiffusionGenerator,
    EncoderExtractor,
    RegenerationModel,
)

SCALE = {"image_mean": OPENAI_CLIP_MEAN, "image_std": OPENAI_CLIP_STD}
CLIP = "openai/clip-vit-large-patch14"
PRIOR = DiffusersModuleConfig(class_name="PriorTransformer", module_config={"embedding_dim": 768, "num_layers": 24})
UNET = DiffusersModuleConfig(class_name="UNet2DConditionModel", module_config={"sample_size": 32})


def build(
    image_encoder=CLIP, text_encoder=CLIP, denoiser=PRIOR, autoencoder="stabilityai/sd-vae-ft-mse", unet=UNET, size=256
) -> RegenerationModel:
    embedding = EncoderExtractor.from_components(image_encoder, pooled=True, **SCALE)
    latents = AutoencoderExtractor.from_components(autoencoder, (3, size, size))
    seen, small = embedding.config.representation_spec, latents.config.representation_spec
    prior = DiffusionGenerator.for_spec(denoiser, seen, None, source_encoder=text_encoder, prediction="sample")
    decoder = RegenerationModel.from_components(latents, DiffusionGenerator.for_spec(unet, small, seen))
    return RegenerationModel.from_components(embedding, prior, decoder)
