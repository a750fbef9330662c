"""Latent diffusion (Rombach et al., 2022): text → VAE latents → image, with Stable Diffusion's VAE and text encoder."""

from regen_hf import AutoencoderExtractor, DiffusersModuleConfig, DiffusionGenerator, RegenerationModel

UNET = DiffusersModuleConfig(
    class_name="UNet2DConditionModel", module_config={"sample_size": 64, "cross_attention_dim": 768}
)


def build(
    autoencoder="stabilityai/sd-vae-ft-mse", denoiser=UNET, text_encoder="openai/clip-vit-large-patch14", size=512
) -> RegenerationModel:
    latents = AutoencoderExtractor.from_components(autoencoder, (3, size, size))
    spec, noise = latents.config.representation_spec, {"scheduler": "DDIMScheduler", "prediction": "noise"}
    prior = DiffusionGenerator.for_spec(
        denoiser, spec, None, source_encoder=text_encoder, timestep_sampling="uniform", **noise
    )
    return RegenerationModel.from_components(latents, prior)
