"""Latent video diffusion, as Wan 2.1 (Wan team, 2025): text → VAE latents → clip; a new backbone of the 1.3B size."""

from regen_hf import AutoencoderExtractor, DiffusersModuleConfig, DiffusionGenerator, HubReference, RegenerationModel

NAME = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
AUTOENCODER, TEXT = (HubReference(NAME, subfolder=folder) for folder in ("vae", "text_encoder"))
DENOISER = DiffusersModuleConfig(
    class_name="WanTransformer3DModel", module_config={"num_attention_heads": 12, "num_layers": 30, "ffn_dim": 8960}
)


def build(autoencoder=AUTOENCODER, denoiser=DENOISER, text_encoder=TEXT, clip=(3, 81, 480, 832)) -> RegenerationModel:
    latents = AutoencoderExtractor.from_components(autoencoder, clip)
    prior = DiffusionGenerator.for_spec(denoiser, latents.config.representation_spec, None, source_encoder=text_encoder)
    return RegenerationModel.from_components(latents, prior)
