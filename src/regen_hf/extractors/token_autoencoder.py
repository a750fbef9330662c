"""Y′ learned from Y alone: codes or latents of text, or of other tokens in order, fewer than there are tokens."""

import contextlib
import copy
import math
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.configuration_utils import SubConfigSpec
from transformers.models.auto.configuration_auto import AutoConfig

from ..parts.contracts import ExtractorConfig, PreTrainedExtractor, check_settings
from ..parts.outputs import LossOutput, Representation, RepresentationSpec
from ..parts.pretrained import build, embedding_width, position_limit
from .hosted.text_encoders import load_text_encoder
from .quantization import codes_to_levels, levels_to_codes, round_to_levels

IGNORED = -100


class TokenAutoencoderExtractorConfig(ExtractorConfig):
    """
    Args:
        encoder_config, decoder_config: transformers encoders, of which the first reads the text and the second
            reconstructs it; both are bidirectional, as BERT, RoBERTa and ModernBERT are.
        vocabulary_size: how many different tokens there are.
        num_codebooks: how many parallel tokens each place has, such as one for each voice of a score; 1 for text.
        stride: how many places are compressed into one code or latent.
        levels: how many levels each channel of a code has; the number of codes is their product. `None` for latents.
        latent_channels: the size of a latent, where there are no `levels`.
        drop: the share of tokens that are masked in training, so that codes describe what the text is about rather than
            each token by itself.
        length: every text is padded with end symbols to this many tokens, so that Y′ has a fixed size; `None` where the
            length of Y′ follows that of the text.
    """

    model_type = "regen_token_autoencoder"
    sub_configs_defaults = {
        "encoder_config": SubConfigSpec(config_class=AutoConfig, model_type="bert", optional=True),
        "decoder_config": SubConfigSpec(config_class=AutoConfig, model_type="bert", optional=True),
    }

    encoder_config: dict | PreTrainedConfig | None = None
    decoder_config: dict | PreTrainedConfig | None = None
    vocabulary_size: int = 30522
    num_codebooks: int = 1
    stride: int = 4
    levels: list[int] | tuple[int, ...] | None = (8, 5, 5, 5)
    latent_channels: int = 16
    drop: float = 0.1
    length: int | None = None

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        for name in ("vocabulary_size", "num_codebooks", "stride", "length"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}.")
        if self.levels is not None and (not self.levels or min(self.levels) < 2):
            raise ValueError(f"`levels` must be None or numbers of at least 2, got {self.levels!r}.")
        if self.latent_channels < 2:  # one number, brought to mean 0, is 0
            raise ValueError(f"`latent_channels` must be at least 2, got {self.latent_channels}.")
        if not 0 <= self.drop < 1:
            raise ValueError(f"`drop` must be from 0 to less than 1, got {self.drop}.")

    @property
    def target_spec(self) -> RepresentationSpec:
        books = (self.num_codebooks,) if self.num_codebooks > 1 else ()
        return RepresentationSpec((*books, self.length), self.vocabulary_size, self.num_codebooks)

    @property
    def representation_spec(self) -> RepresentationSpec:
        groups = self.length and -(-self.length // self.stride)
        if self.levels is None:
            return RepresentationSpec((self.latent_channels, groups))
        return RepresentationSpec((groups,), math.prod(self.levels))

    @property
    def can_decode(self) -> bool:
        return True


class TokenAutoencoderExtractor(PreTrainedExtractor):
    """Codes or latents of text, one for every `stride` tokens, where encoder and decoder both see the whole text; or of
    other sequences of tokens, such as a score with a token for each voice at each step.

    Codes are those of finite scalar quantisation (Mentzer et al., 2024, arXiv:2309.15505): each channel is bounded by a
    tanh and rounded to one of its levels, with a straight-through gradient; the levels are symmetric about 0, even
    where their number is even. Latents are normalised to mean 0 and variance 1 by a layer norm without weights, which
    makes a divergence from a Gaussian unnecessary in the loss.

    A text of any length becomes `ceil(length / stride)` codes; an end symbol in the last group says where it ends.

    Example:
        >>> from transformers import BertConfig
        >>> tiny = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
        >>> extractor = TokenAutoencoderExtractor.from_components(tiny, vocabulary_size=20).eval()
        >>> codes = extractor.encode(torch.tensor([[3, 5, 8, 13, 19]]))
        >>> codes.values.shape, extractor.config.representation_spec.num_codes
        (torch.Size([1, 2]), 1000)
        >>> extractor.decode(codes).values.shape
        torch.Size([1, 8])
    """

    config_class = TokenAutoencoderExtractorConfig
    config: TokenAutoencoderExtractorConfig
    supports_gradient_checkpointing = True

    def __init__(
        self,
        config: TokenAutoencoderExtractorConfig,
        encoder: PreTrainedModel | None = None,
        decoder: PreTrainedModel | None = None,
    ):
        super().__init__(config)
        self.encoder = encoder or build(config.encoder_config)
        self.decoder = decoder or build(config.decoder_config)
        channels = config.latent_channels if config.levels is None else len(config.levels)
        # the two beyond the vocabulary are the end and what stands for a hidden token
        self._hidden = config.vocabulary_size + 1
        self.embedding = nn.Embedding(
            config.num_codebooks * (config.vocabulary_size + 2), embedding_width(self.encoder)
        )
        self.bottleneck = nn.Linear(config.stride * self.encoder.config.hidden_size, channels)
        self.spread = nn.Linear(channels, config.stride * embedding_width(self.decoder))
        self.head = nn.Linear(self.decoder.config.hidden_size, config.num_codebooks * (config.vocabulary_size + 1))
        self.post_init()
        if config.length is not None:
            self._check_room(-(-config.length // config.stride))

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self.bottleneck:  # so that new codes differ, however small the encoder
            init.normal_(module.weight, std=module.in_features**-0.5)

    @classmethod
    def from_components(
        cls,
        encoder: str | PreTrainedModel | PreTrainedConfig,
        vocabulary_size: int,
        decoder: str | PreTrainedModel | PreTrainedConfig | None = None,
        **settings,
    ) -> "TokenAutoencoderExtractor":
        """
        Args:
            encoder: a transformers encoder of text by name, live, or new from a config. Where its vocabulary is of
                `vocabulary_size`, its embeddings of tokens are kept.
            vocabulary_size: how many different tokens there are.
            decoder: likewise; a new one of the encoder's config if `None`.
            settings: the other fields of [`TokenAutoencoderExtractorConfig`].

        Raises:
            ValueError: if one of them does not see all of a text at once, or has too few positions for `length`.
        """
        check_settings(cls.config_class, settings)
        encoder = load_text_encoder(encoder, "encoder")
        if decoder is None:
            decoder = copy.deepcopy(encoder.config)
            decoder.frozen = False
        decoder = load_text_encoder(decoder, "decoder")
        tokens = encoder.get_input_embeddings().weight.detach().clone()
        for part in (encoder, decoder):  # which are given embeddings, and need no words
            padding = getattr(part.get_input_embeddings(), "padding_idx", None) or 0
            part.resize_token_embeddings(padding + 1, mean_resizing=False)
        config = cls.config_class(
            encoder_config=encoder.config.to_dict(),
            decoder_config=decoder.config.to_dict(),
            vocabulary_size=vocabulary_size,
            **settings,
        )
        extractor = cls(config, encoder=encoder, decoder=decoder)
        if len(tokens) == vocabulary_size and config.num_codebooks == 1:
            extractor.embedding.weight.data[:vocabulary_size] = tokens
        return extractor.checked().eval()

    def encode(self, target: torch.Tensor, target_mask: torch.Tensor | None = None) -> Representation:
        """Token ids `(batch, length)`, or `(batch, num_codebooks, length)` of several, `torch.long`, to codes
        `(batch, ceil(length / stride))`, `torch.long`, or to latents `(batch, latent_channels, ceil(length / stride))`.

        With `target_mask` `(batch, length)`, bool, Y′ has a mask `(batch, ceil(length / stride))`, unless
        `config.length` makes all of one size.

        Raises:
            ValueError: for what is no token, a mask with gaps, an empty text, or one longer than `config.length`.
        """
        tokens, real = self._grouped(target, self._lengths(target, target_mask))
        with _at_rest(self):
            values = self._squeeze(tokens, real)
        levels = self.config.levels
        values = values.transpose(1, 2) if levels is None else levels_to_codes(values, levels)
        if target_mask is None or self.config.length is not None:
            return Representation(values)
        return Representation(values.masked_fill(~(real if values.dim() == 2 else real[:, None]), 0), real)

    def decode(self, representation: Representation) -> Representation:
        """Codes or latents back to token ids of `groups × stride` places, of which `config.length` are kept, and
        a mask.

        The first end symbol ends a row. Where the length of Y′ follows that of the text, it can only be in the last
        group, after the first token of that group.
        """
        values, real = self._ungrouped(representation)
        logits, stride = self._logits(values, real).float(), self.config.stride
        places = torch.arange(logits.shape[2], device=real.device)
        first_end = 1 if self.config.length is not None else (real.sum(-1, keepdim=True) - 1) * stride + 1
        logits[..., -1].masked_fill_((places < first_end).unsqueeze(-2), -torch.inf)
        logits[:, 1:, :, -1] = -torch.inf  # the first tokens say where the end is
        ids = logits.argmax(-1)[:, :, : self.config.length]
        ended = (ids[:, 0] == self.config.vocabulary_size) | ~real.repeat_interleave(stride, 1)[:, : self.config.length]
        mask = (ended.cumsum(-1) == 0) & real.any(-1, keepdim=True)
        ids = ids.masked_fill(~mask[:, None], 0)
        return Representation(ids[:, 0] if self.config.num_codebooks == 1 else ids, mask)

    def forward(self, target: torch.Tensor, target_mask: torch.Tensor | None = None) -> LossOutput:
        """The mean cross-entropy of tokens, as `encode` takes them, and of the end symbol of each row where Y′ leaves
        room for one.

        In training, a share `config.drop` of the tokens is masked for the encoder.
        """
        lengths = self._lengths(target, target_mask)
        tokens, real = self._grouped(target, lengths)
        written = torch.arange(tokens.shape[2], device=target.device) <= lengths[:, None]
        written &= real.repeat_interleave(self.config.stride, dim=1)
        labels = tokens.masked_fill(~written[:, None], IGNORED)
        if self.training:
            chosen = torch.rand(tokens.shape, device=tokens.device) < self.config.drop
            tokens = tokens.masked_fill(chosen & (tokens != self.config.vocabulary_size), self._hidden)
        logits = self._logits(self._squeeze(tokens, real), real)
        loss = F.cross_entropy(logits.flatten(0, 2).float(), labels.flatten(), ignore_index=IGNORED)
        return LossOutput.of({"reconstruction": loss})

    def _lengths(self, target: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """How many places each row has, `(batch,)`, of a batch that can be read."""
        shape, vocabulary, limit = tuple(target.shape), self.config.vocabulary_size, self.config.length
        books = (self.config.num_codebooks,) if self.config.num_codebooks > 1 else ()
        if target.dim() != 2 + len(books) or target.dtype != torch.long or shape[1:-1] != books:
            wanted = f"(batch, {books[0]}, length)" if books else "(batch, length)"
            raise ValueError(f"`target` must be token ids {wanted}, torch.long, got {shape}, {target.dtype}.")
        size = (shape[0], shape[-1])
        if limit is not None and size[1] > limit:
            raise ValueError(f"`target` has {size[1]} tokens, but `length` is {limit}.")
        mask = torch.ones(size, dtype=torch.bool, device=target.device) if mask is None else mask
        lengths = _filled(mask, size, "target_mask")
        if (lengths == 0).any():
            raise ValueError("`target` has a row of 0 tokens, but takes at least one.")
        wrong = ((target < 0) | (target >= vocabulary)) & (mask if target.dim() == 2 else mask[:, None])
        if wrong.any():
            raise ValueError(f"`target` must be token ids from 0 to {vocabulary - 1}, got {int(target[wrong][0])}.")
        return lengths

    def _grouped(self, target: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens `(batch, codebooks, groups × stride)` with ends where there is padding, and which groups are real."""
        end, stride = self.config.vocabulary_size, self.config.stride
        groups = -(-(self.config.length or target.shape[-1]) // stride)
        tokens = F.pad(target.view(len(target), -1, target.shape[-1]), (0, groups * stride - target.shape[-1]))
        beyond = torch.arange(groups * stride, device=target.device) >= lengths[:, None]
        tokens = tokens.masked_fill(beyond[:, None], end)
        begins = torch.arange(0, groups * stride, stride, device=target.device)
        real = begins < lengths[:, None] if self.config.length is None else tokens.new_ones(len(tokens), groups).bool()
        return tokens, real

    def _ungrouped(self, representation: Representation) -> tuple[torch.Tensor, torch.Tensor]:
        """What stands for each group, `(batch, groups, channels)`, and which groups are real."""
        values, mask, spec = representation.values, representation.mask, self.config.representation_spec
        found = RepresentationSpec(tuple(values.shape[1:]), spec.num_codes)
        if not spec.fits(found) or values.is_floating_point() != (spec.num_codes is None):
            raise ValueError(f"`representation` must be {spec}, got {values.dtype} of shape {tuple(values.shape[1:])}.")
        size = (len(values), values.shape[-1])
        real = torch.ones(size, dtype=torch.bool, device=values.device) if mask is None else mask
        _filled(real, size, "representation.mask")
        if spec.num_codes is None:
            return values.transpose(1, 2), real
        if ((wrong := (values < 0) | (values >= spec.num_codes)) & real).any():
            raise ValueError(f"`representation` must be {spec}, got the code {int(values[wrong & real][0])}.")
        return codes_to_levels(values, self.config.levels), real

    def _squeeze(self, tokens: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Latents, or the levels of codes from -1 to 1 with the gradient as if they were not rounded, `(batch, groups,
        channels)`."""
        firsts = (self.config.vocabulary_size + 2) * torch.arange(tokens.shape[1], device=tokens.device)
        hidden = self._read(self.encoder, self.embedding(tokens + firsts[:, None]).sum(1), real)
        values = self.bottleneck(hidden.unflatten(1, (-1, self.config.stride)).flatten(2))
        if self.config.levels is None:
            return F.layer_norm(values, values.shape[-1:])
        return round_to_levels(values, self.config.levels)

    def _logits(self, values: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Of each token and of the end symbol, `(batch, codebooks, groups × stride, vocabulary_size + 1)`."""
        embeds = self.spread(values.to(self.dtype)).unflatten(-1, (self.config.stride, -1)).flatten(1, 2)
        logits = self.head(self._read(self.decoder, embeds, real))
        return logits.unflatten(-1, (self.config.num_codebooks, -1)).movedim(2, 1)

    def _read(self, model: PreTrainedModel, embeds: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        self._check_room(real.shape[1])
        mask = real.repeat_interleave(self.config.stride, dim=1).long()
        return model(inputs_embeds=embeds, attention_mask=mask).last_hidden_state

    def _check_room(self, groups: int) -> None:
        """Raises `ValueError` if there are fewer positions than tokens."""
        tokens = groups * self.config.stride
        for part in (self.encoder, self.decoder):
            if (room := position_limit(part)) is not None and tokens > room:
                raise ValueError(
                    f"{type(part).__name__} has {room} positions, but {groups} groups of {self.config.stride} tokens "
                    f"need {tokens}."
                )


@contextlib.contextmanager
def _at_rest(model: nn.Module) -> Iterator[None]:
    """Without dropout, which would change Y′ from step to step while a prior learns it."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _filled(mask: torch.Tensor, size: tuple[int, ...], name: str) -> torch.Tensor:
    """The true length of each row, `(batch,)`."""
    lengths, places = mask.sum(-1), torch.arange(size[1], device=mask.device)
    if (tuple(mask.shape), mask.dtype) != (size, torch.bool) or not torch.equal(mask, places < lengths[:, None]):
        raise ValueError(
            f"`{name}` must be {size}, bool, and each row true first and then false; got {tuple(mask.shape)}, "
            f"{mask.dtype}."
        )
    return lengths
