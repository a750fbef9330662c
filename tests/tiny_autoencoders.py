"""Tiny diffusers autoencoders of the real classes, beside those of images in `tiny.py`."""

from diffusers import (
    AutoencoderKLCogVideoX,
    AutoencoderKLHunyuanVideo,
    AutoencoderKLLTXVideo,
    AutoencoderKLMochi,
    AutoencoderKLWan,
    AutoencoderOobleck,
    AutoencoderRAE,
    AutoencoderVidTok,
)

VIDEO = (3, 9, 16, 16)


def rae(**settings) -> AutoencoderRAE:
    return AutoencoderRAE(
        encoder_hidden_size=64, encoder_patch_size=16, encoder_num_hidden_layers=1, encoder_input_size=32,
        decoder_hidden_size=16, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
        decoder_intermediate_size=16, patch_size=8, image_size=16, **settings,
    )  # fmt: skip


def oobleck() -> AutoencoderOobleck:
    return AutoencoderOobleck(
        encoder_hidden_size=8, downsampling_ratios=[2, 4], channel_multiples=[1, 2], decoder_channels=8,
        decoder_input_channels=4, audio_channels=2, sampling_rate=800,
    )  # fmt: skip


def wan() -> AutoencoderKLWan:
    return AutoencoderKLWan(
        base_dim=4, z_dim=4, dim_mult=[1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True],
        latents_mean=[0.5, 0.0, 0.0, -1.0], latents_std=[2.0, 1.0, 1.0, 3.0],
    )  # fmt: skip


def cogvideox() -> AutoencoderKLCogVideoX:
    return AutoencoderKLCogVideoX(
        block_out_channels=(8, 8, 8, 8), latent_channels=4, layers_per_block=1, norm_num_groups=2, scaling_factor=0.5
    )


def vidtok(regularizer: str) -> AutoencoderVidTok:
    return AutoencoderVidTok(
        ch=8, ch_mult=[1, 1, 1, 1], z_channels=2, double_z=regularizer == "kl", num_res_blocks=1,
        regularizer=regularizer, codebook_size=64,
    )  # fmt: skip


def ltx() -> AutoencoderKLLTXVideo:
    return AutoencoderKLLTXVideo(
        latent_channels=4, block_out_channels=(8, 8), down_block_types=("LTXVideoDownBlock3D",) * 2,
        decoder_block_out_channels=(8, 8), layers_per_block=(1, 1, 1), decoder_layers_per_block=(1, 1, 1),
        spatio_temporal_scaling=(True, False), decoder_spatio_temporal_scaling=(True, False),
        decoder_inject_noise=(False,) * 3, downsample_type=("conv",) * 2, upsample_residual=(False,) * 2,
        upsample_factor=(1, 1), patch_size=2,
    )  # fmt: skip


def hunyuan_video() -> AutoencoderKLHunyuanVideo:
    return AutoencoderKLHunyuanVideo(
        latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4
    )


def mochi() -> AutoencoderKLMochi:
    """Of 32 channels at least, which its groups need."""
    return AutoencoderKLMochi(
        latent_channels=4, encoder_block_out_channels=(32,) * 2, decoder_block_out_channels=(32,) * 2,
        layers_per_block=(1,) * 3, temporal_expansions=(2,), spatial_expansions=(2,),
        add_attention_block=(False,) * 3, latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
    )  # fmt: skip
