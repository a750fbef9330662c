"""Cascaded diffusion (Ho et al., 2021; Imagen, Saharia et al., 2022): text → low-resolution image → image.

In training the decoder sees the small image with noise, so that it bears the prior's errors.
"""

from regen_hf import DiffusersModuleConfig, DiffusionGenerator, DownsampleExtractor, RegenerationModel

SMALL = {"sample_size": 64, "in_channels": 3, "out_channels": 3, "cross_attention_dim": 1024}
LARGE = {**SMALL, "sample_size": 256, "in_channels": 6, "block_out_channels": (128, 256, 512, 1024)}
LARGE |= {
    "down_block_types": ("DownBlock2D", "DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"),
}
BASE, LARGER = (DiffusersModuleConfig(class_name="UNet2DConditionModel", module_config=c) for c in (SMALL, LARGE))


def build(
    base=BASE, larger=LARGER, text_encoder="google/flan-t5-large", size=256, factor=4, source_noise=0.1
) -> RegenerationModel:
    smaller = DownsampleExtractor.from_components(target_shape=[3, size, size], factor=factor)
    image, small = smaller.config.target_spec, smaller.config.representation_spec
    prior = DiffusionGenerator.for_spec(base, small, None, source_encoder=text_encoder)
    decoder = DiffusionGenerator.for_spec(larger, image, small, source_noise=source_noise)
    return RegenerationModel.from_components(smaller, prior, decoder)
