"""Tiny models of the real classes, for tests."""

from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderTiny,
    DiTTransformer2DModel,
    PixArtTransformer2DModel,
    PriorTransformer,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableAudioDiTModel,
    UNet2DConditionModel,
    VQModel,
    WanTransformer3DModel,
)
from transformers import (
    BartConfig,
    BertConfig,
    CLIPTextConfig,
    GPT2Config,
    Lfm2Config,
    LlamaConfig,
    T5Config,
    ViTConfig,
    Wav2Vec2Config,
)

from regen_hf import (
    AutoencoderExtractor,
    AutoregressiveGenerator,
    DiffusionGenerator,
    DownsampleExtractor,
    IdentityExtractor,
    ImageModality,
    RegenerationModel,
    RegenerationProcessor,
    TextModality,
)

NAMES = ["red heart", "blue heart", "green cat", "red cat dancing", "blue dog", "dancing dog"]
IMAGE = (3, 16, 16)


def text() -> TextModality:
    return TextModality.from_words(NAMES)


def processor() -> RegenerationProcessor:
    return RegenerationProcessor(text(), ImageModality(16))


def bert() -> BertConfig:
    return BertConfig(
        vocab_size=16, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=8,
    )  # fmt: skip


def t5() -> T5Config:
    return T5Config(vocab_size=16, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)


def clip() -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=16, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=8, bos_token_id=0, eos_token_id=15,
    )  # fmt: skip


def gpt2(**settings) -> GPT2Config:
    return GPT2Config(**{
        "vocab_size": 13, "n_positions": 64, "n_embd": 16, "n_layer": 1, "n_head": 2, "add_cross_attention": True,
        "bos_token_id": None, "eos_token_id": None, **settings,
    })  # fmt: skip


def vit() -> ViTConfig:
    return ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=8, patch_size=4
    )  # fmt: skip


def wav2vec2() -> Wav2Vec2Config:
    return Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8, 8),
        conv_stride=(5, 2), conv_kernel=(10, 3), num_feat_extract_layers=2, num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )  # fmt: skip


def lfm2(**settings) -> Lfm2Config:
    """Attention between convolutions."""
    return Lfm2Config(**{
        "vocab_size": 16, "hidden_size": 16, "intermediate_size": 16, "block_auto_adjust_ff_dim": False,
        "num_hidden_layers": 3, "layer_types": ["conv", "full_attention", "conv"],
        "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64,
        "bos_token_id": None, "eos_token_id": None, "pad_token_id": None, **settings,
    })  # fmt: skip


def llama(**settings) -> LlamaConfig:
    return LlamaConfig(**{
        "vocab_size": 16, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "max_position_embeddings": 64, **settings,
    })  # fmt: skip


def bart_both() -> BartConfig:
    return BartConfig(
        vocab_size=16, max_position_embeddings=64, d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, pad_token_id=1,
        bos_token_id=0, eos_token_id=2, decoder_start_token_id=2,
    )  # fmt: skip


def bart() -> BartConfig:
    return BartConfig(
        vocab_size=13, max_position_embeddings=64, d_model=16, decoder_layers=1, decoder_attention_heads=2,
        decoder_ffn_dim=16, pad_token_id=1, bos_token_id=0, eos_token_id=2, is_decoder=True,
        is_encoder_decoder=False,
    )  # fmt: skip


def dc(**settings) -> AutoencoderDC:
    widths, layers = (8, 8, 16), (0, 1, 1)
    return AutoencoderDC(**{
        "latent_channels": 4, "encoder_block_out_channels": widths, "decoder_block_out_channels": widths,
        "encoder_layers_per_block": layers, "decoder_layers_per_block": layers,
        "encoder_qkv_multiscales": ((),) * 3, "decoder_qkv_multiscales": ((),) * 3, **settings,
    })  # fmt: skip


def kl() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, layers_per_block=1,
        up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=4, latent_channels=4, sample_size=16,
    )  # fmt: skip


def tiny_autoencoder() -> AutoencoderTiny:
    return AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1), latent_channels=4,
    )  # fmt: skip


def vq() -> VQModel:
    return VQModel(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, layers_per_block=1,
        up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=4, latent_channels=4, num_vq_embeddings=12,
    )  # fmt: skip


def sd3(shape, **settings) -> SD3Transformer2DModel:
    return SD3Transformer2DModel(**{
        "sample_size": shape[-1], "patch_size": shape[-1] // 4, "in_channels": shape[0], "out_channels": shape[0],
        "num_layers": 2, "attention_head_dim": 8, "num_attention_heads": 2, "joint_attention_dim": 16,
        "caption_projection_dim": 16, "pooled_projection_dim": 24, "pos_embed_max_size": 4, **settings,
    })  # fmt: skip


def pixart(shape) -> PixArtTransformer2DModel:
    return PixArtTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=shape[0], out_channels=2 * shape[0], num_layers=1,
        cross_attention_dim=16, caption_channels=16, sample_size=shape[-1], patch_size=2,
        use_additional_conditions=False,
    )  # fmt: skip


def sana(shape) -> SanaTransformer2DModel:
    return SanaTransformer2DModel(
        in_channels=shape[0], out_channels=shape[0], num_attention_heads=2, attention_head_dim=8, num_layers=1,
        num_cross_attention_heads=2, cross_attention_head_dim=8, cross_attention_dim=16, caption_channels=16,
        sample_size=shape[-1], patch_size=1,
    )  # fmt: skip


def dit(shape, classes: int = 5) -> DiTTransformer2DModel:
    return DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=shape[0], num_layers=1, sample_size=shape[-1],
        patch_size=2, num_embeds_ada_norm=classes,
    )  # fmt: skip


def unet(shape, channels: int | None = None) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=shape[-1], in_channels=channels or shape[0], out_channels=shape[0], block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), cross_attention_dim=16, attention_head_dim=4,
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), layers_per_block=1, norm_num_groups=4,
    )  # fmt: skip


def prior_transformer(**settings) -> PriorTransformer:
    return PriorTransformer(**{
        "num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 1, "embedding_dim": 16, "num_embeddings": 8,
        **settings,
    })  # fmt: skip


def stable_audio() -> StableAudioDiTModel:
    return StableAudioDiTModel(
        in_channels=4, out_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=2,
        num_key_value_attention_heads=2, cross_attention_dim=16, cross_attention_input_dim=24, time_proj_dim=16,
        global_states_input_dim=20,
    )  # fmt: skip


def wan() -> WanTransformer3DModel:
    return WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=28,
        freq_dim=16, ffn_dim=32, num_layers=1, cross_attn_norm=True, rope_max_seq_len=16,
    )  # fmt: skip


def autoencoder_extractor(autoencoder=None, kind: str = "latents", **settings) -> AutoencoderExtractor:
    return AutoencoderExtractor.from_components(autoencoder or dc(), IMAGE, kind, **settings)


def downsample() -> DownsampleExtractor:
    return DownsampleExtractor.from_components(target_shape=list(IMAGE), factor=4)


def identity() -> IdentityExtractor:
    return IdentityExtractor.from_components(target_shape=list(IMAGE))


def diffusion_prior(shape, **settings) -> DiffusionGenerator:
    return DiffusionGenerator.from_components(sd3(shape), tuple(shape), bert(), **settings)


def code_prior(shape=(8, 8), num_codes: int = 12, **settings) -> AutoregressiveGenerator:
    return AutoregressiveGenerator.from_components(gpt2(), tuple(shape), num_codes, bert(), **settings)


def diffusion_decoder(**settings) -> DiffusionGenerator:
    return DiffusionGenerator.from_components(
        unet(IMAGE, channels=6), IMAGE, source_shape=[3, 4, 4], condition_dropout=0.0, **settings
    )


def latent_model() -> RegenerationModel:
    return RegenerationModel.from_components(autoencoder_extractor(), diffusion_prior((4, 4, 4)))


def code_model() -> RegenerationModel:
    return RegenerationModel.from_components(autoencoder_extractor(vq(), "codes"), code_prior())


def lowres_model() -> RegenerationModel:
    return RegenerationModel.from_components(downsample(), diffusion_prior((3, 4, 4)), diffusion_decoder())


def direct_model() -> RegenerationModel:
    return RegenerationModel.from_components(identity(), diffusion_prior(IMAGE, prediction="sample"))


MODELS = {"latents": latent_model, "codes": code_model, "lowres": lowres_model, "identity": direct_model}
