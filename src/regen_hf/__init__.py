"""regen_hf: regeneration learning for the Hugging Face ecosystem.

Importing it registers the models with transformers' Auto classes and the task `pipeline("regeneration")`.
"""

from transformers import AutoConfig, AutoModel, AutoProcessor
from transformers.pipelines import PIPELINE_REGISTRY

from .cache.extraction import extract, write_cache
from .cache.representations import RepresentationCache
from .configuration_regeneration import RegenerationConfig
from .extractors import (
    AutoencoderExtractor,
    AutoencoderExtractorConfig,
    CodecExtractor,
    CodecExtractorConfig,
    DownsampleExtractor,
    DownsampleExtractorConfig,
    EncoderExtractor,
    EncoderExtractorConfig,
    HarmonyExtractor,
    HarmonyExtractorConfig,
    IdentityExtractor,
    IdentityExtractorConfig,
    KeywordExtractor,
    KeywordExtractorConfig,
    LogMelExtractor,
    LogMelExtractorConfig,
    PhonemeExtractor,
    PhonemeExtractorConfig,
    TokenAutoencoderExtractor,
    TokenAutoencoderExtractorConfig,
)
from .generators import (
    AlignedDiffusionGenerator,
    AlignedDiffusionGeneratorConfig,
    AutoregressiveGenerator,
    AutoregressiveGeneratorConfig,
    CTCGenerator,
    CTCGeneratorConfig,
    DiffusionGenerator,
    DiffusionGeneratorConfig,
    GriffinLimGenerator,
    GriffinLimGeneratorConfig,
    InverseSTFTGenerator,
    InverseSTFTGeneratorConfig,
    MaskedGenerator,
    MaskedGeneratorConfig,
    RegressionGenerator,
    RegressionGeneratorConfig,
    VocoderGenerator,
    VocoderGeneratorConfig,
)
from .losses import AdversarialLoss, ExtractorWithLosses, PerceptualLoss
from .modalities import (
    AudioModality,
    CombinedModality,
    ImageModality,
    LabelModality,
    Modality,
    PhonemeModality,
    ScoreModality,
    TextModality,
    VideoModality,
    check_texts,
    save_sheet,
    save_video,
)
from .modeling_regeneration import RegenerationModel
from .parts.auto import load_extractor, load_generator
from .parts.contracts import ExtractorConfig, GeneratorConfig, PreTrainedExtractor, PreTrainedGenerator, RuleExtractor
from .parts.diffusers_module import DiffusersModule, DiffusersModuleConfig
from .parts.outputs import LossOutput, RegenerationOutput, Representation, RepresentationSpec
from .parts.pretrained import HubReference
from .pipeline_regeneration import RegenerationPipeline
from .processing_regeneration import RegenerationProcessor
from .runtime.data_checks import check_columns, readable_examples
from .runtime.files import check_output_folder
from .sharing.model_card import write_model_card
from .sharing.summary import plot_losses, summarize
from .speech.espeak import phonemes, speak
from .stages.lora import add_lora
from .stages.regenerator import train_regenerator
from .training.arguments import StageArguments, StageResult
from .training.batches import Batches, StreamedBatches
from .training.interruption import TrainingInterrupted
from .training.loop import train

__version__ = "0.1.0"

__all__ = [
    "AdversarialLoss",
    "AlignedDiffusionGenerator",
    "AlignedDiffusionGeneratorConfig",
    "AudioModality",
    "AutoencoderExtractor",
    "AutoencoderExtractorConfig",
    "AutoregressiveGenerator",
    "AutoregressiveGeneratorConfig",
    "Batches",
    "CTCGenerator",
    "CTCGeneratorConfig",
    "CodecExtractor",
    "CodecExtractorConfig",
    "CombinedModality",
    "DiffusersModule",
    "DiffusersModuleConfig",
    "DiffusionGenerator",
    "DiffusionGeneratorConfig",
    "DownsampleExtractor",
    "DownsampleExtractorConfig",
    "EncoderExtractor",
    "EncoderExtractorConfig",
    "ExtractorConfig",
    "ExtractorWithLosses",
    "GeneratorConfig",
    "GriffinLimGenerator",
    "GriffinLimGeneratorConfig",
    "HarmonyExtractor",
    "HarmonyExtractorConfig",
    "HubReference",
    "IdentityExtractor",
    "IdentityExtractorConfig",
    "ImageModality",
    "InverseSTFTGenerator",
    "InverseSTFTGeneratorConfig",
    "KeywordExtractor",
    "KeywordExtractorConfig",
    "LabelModality",
    "LogMelExtractor",
    "LogMelExtractorConfig",
    "LossOutput",
    "MaskedGenerator",
    "MaskedGeneratorConfig",
    "Modality",
    "PerceptualLoss",
    "PhonemeExtractor",
    "PhonemeExtractorConfig",
    "PhonemeModality",
    "PreTrainedExtractor",
    "PreTrainedGenerator",
    "RegenerationConfig",
    "RegenerationModel",
    "RegenerationOutput",
    "RegenerationPipeline",
    "RegenerationProcessor",
    "RegressionGenerator",
    "RegressionGeneratorConfig",
    "Representation",
    "RepresentationCache",
    "RepresentationSpec",
    "RuleExtractor",
    "ScoreModality",
    "StageArguments",
    "StageResult",
    "StreamedBatches",
    "TextModality",
    "TokenAutoencoderExtractor",
    "TokenAutoencoderExtractorConfig",
    "TrainingInterrupted",
    "VideoModality",
    "VocoderGenerator",
    "VocoderGeneratorConfig",
    "add_lora",
    "check_columns",
    "check_output_folder",
    "check_texts",
    "extract",
    "load_extractor",
    "load_generator",
    "phonemes",
    "plot_losses",
    "readable_examples",
    "save_sheet",
    "save_video",
    "speak",
    "summarize",
    "train",
    "train_regenerator",
    "write_cache",
    "write_model_card",
]

for _config, _model in (
    (RegenerationConfig, RegenerationModel),
    (DiffusersModuleConfig, DiffusersModule),
    (AutoencoderExtractorConfig, AutoencoderExtractor),
    (CodecExtractorConfig, CodecExtractor),
    (DownsampleExtractorConfig, DownsampleExtractor),
    (EncoderExtractorConfig, EncoderExtractor),
    (HarmonyExtractorConfig, HarmonyExtractor),
    (IdentityExtractorConfig, IdentityExtractor),
    (KeywordExtractorConfig, KeywordExtractor),
    (LogMelExtractorConfig, LogMelExtractor),
    (PhonemeExtractorConfig, PhonemeExtractor),
    (TokenAutoencoderExtractorConfig, TokenAutoencoderExtractor),
    (AlignedDiffusionGeneratorConfig, AlignedDiffusionGenerator),
    (AutoregressiveGeneratorConfig, AutoregressiveGenerator),
    (CTCGeneratorConfig, CTCGenerator),
    (DiffusionGeneratorConfig, DiffusionGenerator),
    (GriffinLimGeneratorConfig, GriffinLimGenerator),
    (InverseSTFTGeneratorConfig, InverseSTFTGenerator),
    (MaskedGeneratorConfig, MaskedGenerator),
    (RegressionGeneratorConfig, RegressionGenerator),
    (VocoderGeneratorConfig, VocoderGenerator),
):
    AutoConfig.register(_config.model_type, _config)
    AutoModel.register(_config, _model)
AutoProcessor.register(RegenerationConfig, RegenerationProcessor)
PIPELINE_REGISTRY.register_pipeline(
    "regeneration", pipeline_class=RegenerationPipeline, pt_model=AutoModel, type="multimodal"
)
