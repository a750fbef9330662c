"""Kandinsky 2.2 (Razzhigaev et al., 2023): text → CLIP image embedding → MOVQ latents → image.

Its own encoders and MOVQ; the two denoisers are new.
"""

import unclip

from regen_hf import DiffusersModuleConfig, HubReference, RegenerationModel

PRIOR = "kandinsky-community/kandinsky-2-2-prior"
IMAGES, TEXTS = (HubReference(PRIOR, subfolder=folder) for folder in ("image_encoder", "text_encoder"))
MOVQ = HubReference("kandinsky-community/kandinsky-2-2-decoder", subfolder="movq")
DENOISER = DiffusersModuleConfig(class_name="PriorTransformer", module_config={"embedding_dim": 1280})
UNET = DiffusersModuleConfig(
    class_name="UNet2DConditionModel",
    module_config={"sample_size": 64, "block_out_channels": (384, 768, 1152, 1536), "cross_attention_dim": 768},
)


def build(
    image_encoder=IMAGES, text_encoder=TEXTS, denoiser=DENOISER, autoencoder=MOVQ, unet=UNET, size=512
) -> RegenerationModel:
    return unclip.build(image_encoder, text_encoder, denoiser, autoencoder, unet, size)
