"""Small networks that several examples build their models of."""

from diffusers import AutoencoderDC
from transformers import BertConfig, Wav2Vec2BertConfig


def small_autoencoder(latent_channels: int) -> AutoencoderDC:
    """Of pictures or frames; latents have an eighth of the height and width."""
    none = ((),) * 4
    widths, layers = (32, 32, 64, 128), (0, 2, 2, 2)
    return AutoencoderDC(
        latent_channels=latent_channels,
        encoder_block_out_channels=widths,
        decoder_block_out_channels=widths,
        encoder_layers_per_block=layers,
        decoder_layers_per_block=layers,
        encoder_qkv_multiscales=none,
        decoder_qkv_multiscales=none,
    )


def word_embeddings(text, width: int, dropout: float = 0.0) -> BertConfig:
    """Word and position embeddings; the generator's own layers read them."""
    return BertConfig(
        vocab_size=len(text.tokenizer),
        hidden_size=width,
        num_hidden_layers=0,
        num_attention_heads=4,
        max_position_embeddings=text.max_length,
        hidden_dropout_prob=dropout,
        pad_token_id=text.tokenizer.pad_token_id,
    )


def conformer(width: int, layers: int, feed_forward: int, kernel: int, **settings) -> Wav2Vec2BertConfig:
    """Of a sequence of vectors, none of which are masked in training."""
    return Wav2Vec2BertConfig(
        hidden_size=width,
        feature_projection_input_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=feed_forward,
        conv_depthwise_kernel_size=kernel,
        apply_spec_augment=False,
        layerdrop=0.0,
        **settings,
    )
