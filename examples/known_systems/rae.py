"""RAE (Zheng et al., 2025): class → latents of a representation autoencoder → image, by a DiT as wide as XL."""

from regen_hf import AutoencoderExtractor, DiffusersModuleConfig, DiffusionGenerator, RegenerationModel

AUTOENCODER = "nyu-visionx/RAE-dinov2-wReg-base-ViTXL-n08"
DIT = DiffusersModuleConfig(class_name="DiTTransformer2DModel", module_config={
    "sample_size": 16, "patch_size": 1, "in_channels": 768, "num_layers": 28, "num_embeds_ada_norm": 1000,
})  # fmt: skip


def build(autoencoder=AUTOENCODER, denoiser=DIT, num_classes=1000) -> RegenerationModel:
    latents = AutoencoderExtractor.from_components(autoencoder)
    prior = DiffusionGenerator.for_spec(denoiser, latents.config.representation_spec, None, num_classes=num_classes)
    return RegenerationModel.from_components(latents, prior)
