"""What generators share that read a source: the settings that say how, and statistics of what they read and make."""

import dataclasses

from torch import nn
from transformers import PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec
from transformers.models.auto.configuration_auto import AutoConfig

from ...parts.contracts import GeneratorConfig, PreTrainedGenerator
from ...parts.outputs import RepresentationSpec
from .source_encoders import READERS, SOURCE_NAMES
from .statistics import ChannelStatistics


def _encoder(model_type: str) -> SubConfigSpec:
    return SubConfigSpec(config_class=AutoConfig, model_type=model_type, optional=True)


class ConditionalGeneratorConfig(GeneratorConfig):
    """
    Args:
        source_encoder_config: the transformers encoder that reads text.
        source_image_encoder_config: the one that reads an image.
        source_audio_encoder_config: the one that reads a waveform, or features of one.
        source_representation_encoder_config: one that reads the representation, as `inputs_embeds` or, for a conformer
            such as `Wav2Vec2BertModel`, as `input_features`; without it the
            generator reads each of its positions by itself.
        num_classes: the number of classes, where the source is a class.
        source_shape: the shape of the representation, where the source is one.
        source_num_codes, source_num_codebooks, source_rate: the rest of its description, as in [`RepresentationSpec`].
        condition_dropout: how often training hides the source, so that `generate` can be guided; 0 learns no null
            source and forbids guidance.
    """

    sub_configs_defaults = {
        "source_encoder_config": _encoder("bert"),
        "source_image_encoder_config": _encoder("vit"),
        "source_audio_encoder_config": _encoder("wav2vec2"),
        "source_representation_encoder_config": _encoder("bert"),
    }

    source_encoder_config: dict | PreTrainedConfig | None = None
    source_image_encoder_config: dict | PreTrainedConfig | None = None
    source_audio_encoder_config: dict | PreTrainedConfig | None = None
    source_representation_encoder_config: dict | PreTrainedConfig | None = None
    num_classes: int | None = None
    source_shape: list[int | None] | tuple[int | None, ...] | None = None
    source_num_codes: int | None = None
    source_num_codebooks: int = 1
    source_rate: float | None = None
    condition_dropout: float = 0.1
    source_stride = None  # without a type, since it is a setting of some subclasses only

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if not 0 <= self.condition_dropout < 1:
            raise ValueError(f"`condition_dropout` must be in [0, 1), got {self.condition_dropout}.")
        if self.source_shape is None:
            for name in ("source_num_codes", "source_rate", "source_representation_encoder_config"):
                if getattr(self, name) is not None:
                    raise ValueError(f"`{name}` describes a source representation, which needs `source_shape`.")
        self._check_stride()

    @property
    def source_spec(self) -> RepresentationSpec | None:
        if self.source_shape is None:
            return None
        books, rate = self.source_num_codebooks, self.source_rate
        return RepresentationSpec(tuple(self.source_shape), self.source_num_codes, books, rate)

    @property
    def reads_encoders(self) -> bool:
        """Whether there is something to read that only an encoder can."""
        return any(getattr(self, f"source_{reader}_config") is not None for reader in READERS.values())

    def _check_stride(self) -> None:
        """Raises `ValueError` where `source_stride` is no setting, no number of places, or it is not clear of what."""
        if (stride := self.source_stride) is None:
            return
        if "source_stride" not in {field.name for field in dataclasses.fields(self)}:
            raise ValueError(f"`source_stride` is no setting of {type(self).__name__}.")
        if not isinstance(stride, int) or stride < 1:
            raise ValueError(f"`source_stride` must be None or a whole number of at least 1, got {stride!r}.")
        kinds = [name for name in dict.fromkeys(READERS.values()) if getattr(self, f"source_{name}_config") is not None]
        kinds += [name for name in ("num_classes", "source_shape") if getattr(self, name) is not None]
        if len(kinds) != 1 or kinds == ["num_classes"]:
            raise ValueError(f"`source_stride` needs one kind of source that has places, got {kinds or 'none'}.")

    def check_guidance(self, guidance: float) -> None:
        """Raises `ValueError` if `guidance` asks for a null source that was never learned."""
        if guidance != 1 and self.condition_dropout == 0:
            raise ValueError(
                f"`guidance` must be 1, got {guidance}: this {type(self).__name__} has `condition_dropout` 0, so it "
                "has learned no null source to be guided away from."
            )


def describe_source(source: RepresentationSpec | None) -> dict:
    """The settings of a generator that reads such a representation."""
    if source is None:
        return {}
    return {
        "source_shape": list(source.shape),
        "source_num_codes": source.num_codes,
        "source_num_codebooks": source.num_codebooks,
        "source_rate": source.rate,
    }


class ConditionalGenerator(PreTrainedGenerator):
    """A generator that reads its source by a `source_encoder`, and has `statistics` of its targets where those are
    continuous. A subclass sets both. (Those of language models and of waves have none of their targets.)
    """

    config: ConditionalGeneratorConfig
    source_names = SOURCE_NAMES
    _keep_in_fp32_modules_strict = ["statistics"]

    def __init__(self, config: ConditionalGeneratorConfig):
        super().__init__(config)
        self.statistics = None

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, ChannelStatistics):
            module.init_weights()

    @property
    def input_limits(self) -> dict[str, tuple[int | None, int | None]]:
        return self.source_encoder.input_limits

    def check_source(self, **source) -> None:
        self.source_encoder(**source)

    def fit_statistics(self, targets, sources=None) -> None:
        """Measures mean and deviation of continuous targets and source representations: iterables of batches
        `(batch, channels, ...)`."""
        if self.statistics is not None:
            self.statistics.fit(targets)
        self.source_encoder.fit_statistics(sources)

    def assign_statistics(self, mean, std) -> None:
        if self.statistics is not None:
            self.statistics.assign(mean, std)
