"""What an autoregressive generator writes, and with which vocabulary."""

import math

from transformers import PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec
from transformers.models.auto.configuration_auto import AutoConfig

from ...parts.generation import GUIDANCE
from ...parts.outputs import RepresentationSpec
from ...parts.settings import MANY, Argument
from ..sources.conditional_generator import ConditionalGeneratorConfig
from .code_order import ORDERS

SAMPLING = {
    "temperature": Argument(above=0),
    "top_k": Argument(int, 0),
    "top_p": Argument(above=0, most=1),
    "min_p": Argument(least=0, most=1),
    "typical_p": Argument(above=0, most=1),
    "epsilon_cutoff": Argument(least=0, most=1),
    "eta_cutoff": Argument(least=0, most=1),
}
"""What only sampling reads."""

MOST_TOKENS = 1_000_000
LENGTHS = dict.fromkeys(("max_new_tokens", "max_length"), Argument(int, 1, MOST_TOKENS))
LENGTHS |= dict.fromkeys(("min_new_tokens", "min_length"), Argument(int, 0, MOST_TOKENS))
"""How many tokens are written; by `..._length`, as in transformers, the start of the sequence counts."""


class AutoregressiveGeneratorConfig(ConditionalGeneratorConfig):
    """
    Args:
        language_model_config: of the transformers decoder, whose vocabulary is `vocabulary_size`.
        target_shape: the shape of the codes, for example `[8, 8]`, written row by row; the last size may be `None`.
        num_codes: the number of different codes.
        num_codebooks: how many codes stand for the same place; they are then the first of `target_shape`.
        target_rate: how many places make a second.
        order: of several codebooks: `"interleave"`, place by place, or `"delay"`, all of them at each step.
        max_places: how many places there are at most, where their number varies; in `from_components` as many as the
            language model has positions for, or 1500.
        prefix_vocabulary_size: the number of tokens of a source that the language model reads itself, before what it
            writes.
        reads_codes: whether that source is the representation, such as a plan in the model's own tokens, and no text.
        shares_vocabulary: whether the codes are tokens of the language model, which then keeps its embeddings and
            its head; in `from_components` where a pretrained one has as many tokens as there are codes.
        ties_head: whether the head is the embeddings of the codes (Press and Wolf, 2017), so that what was read can
            be written again, as in copying words, without learning each of them. The end has the row of the start.
        copies: whether what is written may also be pointed at in the source, by [`CopyAttention`], which learns to
            repeat names and numbers sooner than the language model by itself; for a source that the language model
            reads in the tokens that it writes, with `ties_head`.
        alignment_weight: of a further loss, by which the source alone tells the codes in their order by connectionist
            temporal classification (Watanabe et al., 2017, eq. 5), so that attention soon finds its way along a source
            that is read out, such as phonemes or speech. Rows with more codes than source count as 0 in it.
        source_stride: how many places of the source are aligned with each place of the target: 1 for a melody and the
            voices beneath it. Then their mean is added to what is read where that place is written, instead of a
            prefix, and what is written has a place for each `source_stride` of the source; `None` where the source is
            read as a whole.
        source_noise: in training, the mean share of a source's codes that are replaced, dropped or put in, so that
            the generator repairs a prior's errors.
    """

    model_type = "regen_autoregressive"
    sub_configs_defaults = {
        **ConditionalGeneratorConfig.sub_configs_defaults,
        "language_model_config": SubConfigSpec(config_class=AutoConfig, model_type="gpt2", optional=True),
    }

    language_model_config: dict | PreTrainedConfig | None = None
    target_shape: list[int | None] | tuple[int | None, ...] = (8, 8)
    num_codes: int = 256
    num_codebooks: int = 1
    target_rate: float | None = None
    order: str = "interleave"
    max_places: int | None = None
    prefix_vocabulary_size: int | None = None
    reads_codes: bool = False
    shares_vocabulary: bool = False
    ties_head: bool = False
    copies: bool = False
    alignment_weight: float = 0.0
    source_stride: int | None = None
    source_noise: float = 0.0
    is_encoder_decoder: bool = True
    generation_arguments = {
        "guidance": GUIDANCE,
        "do_sample": Argument(bool),
        **SAMPLING,
        "num_beams": Argument(int, 1, MANY),
        "num_return_sequences": Argument(int, 1, MANY),
        "length_penalty": Argument(),
        "early_stopping": Argument(bool, others=("never",)),
        "repetition_penalty": Argument(above=0),
        "no_repeat_ngram_size": Argument(int, 0, MANY),
        **LENGTHS,
        "max_time": Argument(above=0),
        "renormalize_logits": Argument(bool),
        "remove_invalid_values": Argument(bool),
        "use_cache": Argument(bool),
    }

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.order not in ORDERS:
            raise ValueError(f"`order` must be one of {', '.join(ORDERS)}, got {self.order!r}.")
        if self.order == "delay" and self.num_codebooks == 1:
            raise ValueError("`order` is 'delay', which needs `num_codebooks` of at least 2, got 1.")
        if self.shares_vocabulary and self.num_codebooks > 1:
            raise ValueError(f"`shares_vocabulary` needs one codebook, got num_codebooks {self.num_codebooks}.")
        if not (self.max_places is None or 1 <= self.max_places <= MOST_TOKENS):
            raise ValueError(f"`max_places` must be from 1 to {MOST_TOKENS}, got {self.max_places}.")
        if self.varies != (self.max_places is not None):
            given = f"target_shape {tuple(self.target_shape)} and max_places {self.max_places}"
            raise ValueError(f"`max_places` belongs to a target_shape whose last size is None, got {given}.")
        if self.prefix_vocabulary_size is not None and self.source_encoder_config is not None:
            raise ValueError("`prefix_vocabulary_size` has the language model read the text, and `source_encoder` too.")
        in_a_row = self.source_shape is not None and len(self.source_shape) == self.source_num_codebooks == 1
        encoded = self.source_representation_encoder_config is not None
        same = self.prefix_vocabulary_size is not None and self.prefix_vocabulary_size == self.source_num_codes
        if self.reads_codes and (encoded or not in_a_row or not same):
            raise ValueError(
                "`reads_codes` needs a source of `prefix_vocabulary_size` codes in a row and no encoder of it, got "
                f"{self.source_spec} and prefix_vocabulary_size {self.prefix_vocabulary_size}."
            )
        if self.copies and not (self.ties_head and self.shares_vocabulary and self.prefix_vocabulary_size):
            raise ValueError(
                "`copies` needs `ties_head`, `shares_vocabulary` and `prefix_vocabulary_size`: what is read and what "
                "is written must be the same tokens."
            )
        if self.source_noise and self.source_stride is not None:
            raise ValueError("`source_noise` moves the places of a source, which `source_stride` counts: give one.")
        if self.source_stride is not None and self.prefix_vocabulary_size is not None:
            raise ValueError("`source_stride` needs a source encoder, but with `prefix_vocabulary_size` there is none.")
        if self.alignment_weight and (self.num_codebooks > 1 or len(self.target_shape) > 1):
            raise ValueError(f"`alignment_weight` needs one codebook in a row, got {self.target_spec}.")
        one_book = self.source_num_codes is not None and tuple(self.source_shape) == (None,)
        if not 0 <= self.source_noise < 0.5 or (self.source_noise and not one_book):
            raise ValueError(
                f"`source_noise` must be in [0, 0.5), and above 0 for a source of any number of codes only; got "
                f"{self.source_noise} for {self.source_spec}."
            )
        if None in self.target_shape[:-1]:
            raise ValueError(f"`target_shape` may vary in its last size only, got {tuple(self.target_shape)}.")

    @property
    def varies(self) -> bool:
        """Whether targets differ in length."""
        return self.target_shape[-1] is None

    @property
    def ends(self) -> bool:
        """Whether the generator itself says where a target ends."""
        return self.varies and self.source_stride is None

    @property
    def gives_likeliest(self) -> bool:
        """Whether the likeliest target is given unless something else is asked for: of what is read, such as text or
        phonemes. What is looked at or listened to, and has a size or a rate, is drawn."""
        return self.ends and self.num_codebooks == 1 and self.target_rate is None

    @property
    def places(self) -> int:
        """How many places there are, or may be."""
        shape = self.target_shape[1:] if self.num_codebooks > 1 else self.target_shape
        return math.prod(self.max_places if size is None else size for size in shape)

    @property
    def target_spec(self) -> RepresentationSpec:
        return RepresentationSpec(tuple(self.target_shape), self.num_codes, self.num_codebooks, self.target_rate)

    @property
    def first_code(self) -> int:
        """Where in the language model's vocabulary the codes begin."""
        return 0 if self.shares_vocabulary else self.prefix_vocabulary_size or 0

    @property
    def vocabulary_size(self) -> int:
        """How many tokens the language model reads: those of a source, the codes, and the start of a sequence."""
        codes = self.first_code + self.num_codes * self.num_codebooks
        return max(codes, self.prefix_vocabulary_size or 0) + 1

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> PreTrainedConfig:
        """The decoder's configuration, from which transformers' `generate` makes its caches."""
        return self.language_model_config if decoder and self.language_model_config is not None else self

    @property
    def vocab_size(self) -> int:
        """What transformers' `generate` chooses from: the codes of one codebook, the end and the start."""
        return self.num_codes + 2
