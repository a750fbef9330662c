"""Stable Cascade, or Würstchen (Pernias et al., 2023): text → small latents (C) → larger latents (B) → image (A).

The latents are DC-AE's and Stable Diffusion's; an SD3 transformer and a U-Net stand for StableCascadeUNet, which needs
arguments that no other backbone has.
"""

from regen_hf import AutoencoderExtractor, DiffusersModuleConfig, DiffusionGenerator, RegenerationModel

SMALL, LARGE, TEXT = "mit-han-lab/dc-ae-f64c128-mix-1.0-diffusers", "stabilityai/sd-vae-ft-mse", "google/flan-t5-large"
STAGE_C = DiffusersModuleConfig(class_name="SD3Transformer2DModel", module_config={
    "sample_size": 16, "patch_size": 1, "in_channels": 128, "out_channels": 128, "num_layers": 24,
    "num_attention_heads": 24, "caption_projection_dim": 1536, "joint_attention_dim": 1024,
})  # fmt: skip
STAGE_B = DiffusersModuleConfig(
    class_name="UNet2DConditionModel", module_config={"sample_size": 128, "in_channels": 4 + 128}
)


def build(
    compressor=SMALL, autoencoder=LARGE, text_encoder=TEXT, stage_c=STAGE_C, stage_b=STAGE_B, size=1024
) -> RegenerationModel:
    small = AutoencoderExtractor.from_components(compressor, (3, size, size))
    large = AutoencoderExtractor.from_components(autoencoder, (3, size, size))
    low, high = small.config.representation_spec, large.config.representation_spec
    prior = DiffusionGenerator.for_spec(stage_c, low, None, source_encoder=text_encoder)
    decoder = RegenerationModel.from_components(large, DiffusionGenerator.for_spec(stage_b, high, low))
    return RegenerationModel.from_components(small, prior, decoder)
