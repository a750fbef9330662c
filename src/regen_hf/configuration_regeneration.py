"""The configuration of a regenerator; what must fit together is checked here."""

import os
from pathlib import Path

from transformers import PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec
from transformers.models.auto.configuration_auto import AutoConfig

from .parts.contracts import ExtractorConfig, GeneratorConfig
from .parts.outputs import RepresentationSpec
from .parts.settings import MANY, Argument, check_arguments

SEVERAL = Argument(int, 1, MANY, default=1)
REMOTE_CODE_FILE = "regeneration_remote_code"
REMOTE_CODE = """# Lets transformers load this model with `trust_remote_code=True` where regen_hf is not imported.
# The code itself is in the package: `pip install regen_hf`.

from regen_hf import RegenerationConfig, RegenerationModel, RegenerationProcessor  # noqa: F401
"""


class RegenerationConfig(GeneratorConfig):
    """
    Args:
        extractor_config: of the extractor Y→Y′.
        prior_config: of the prior X→Y′.
        decoder_config: of the decoder Y′→Y; `None` where the extractor leads back itself.

    Raises:
        ValueError: if the parts do not fit together, by the names and values of both sides.
    """

    model_type = "regen_regeneration"
    sub_configs_defaults = {
        "extractor_config": SubConfigSpec(config_class=AutoConfig, model_type="regen_identity", optional=True),
        "prior_config": SubConfigSpec(config_class=AutoConfig, model_type="regen_diffusion", optional=True),
        "decoder_config": SubConfigSpec(config_class=AutoConfig, model_type="regen_diffusion", optional=True),
    }

    extractor_config: dict | PreTrainedConfig | None = None
    prior_config: dict | PreTrainedConfig | None = None
    decoder_config: dict | PreTrainedConfig | None = None

    @property
    def generation_arguments(self) -> dict[str, Argument]:
        """Those of the prior; and `num_hypotheses` and `decoder_kwargs`, the decoder's."""
        prior = dict(getattr(self.prior_config, "generation_arguments", {}))
        prior.pop("num_return_sequences", None)  # which is asked for with each call
        decoder = {} if self.decoder_config is None else {"decoder_kwargs": Argument(dict), "num_hypotheses": SEVERAL}
        return {**prior, **decoder}

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        for key, contract in (
            ("extractor_config", ExtractorConfig),
            ("prior_config", GeneratorConfig),
            ("decoder_config", GeneratorConfig),
        ):
            if not isinstance(described := getattr(self, key), contract | None):
                raise TypeError(f"`{key}` must be of a {contract.__name__}, got {type(described).__name__}.")
        if self.decoder_config is not None:
            said = (self.generation or {}).get("decoder_kwargs")
            check_arguments(said, self.decoder_config.generation_arguments, "decoder_kwargs")
        if self.extractor_config is not None and self.prior_config is not None:
            self._check_fit()

    def _check_fit(self) -> None:
        extractor, prior, decoder = self.extractor_config, self.prior_config, self.decoder_config
        made, wanted = extractor.representation_spec, prior.target_spec
        _must_fit("the extractor gives", made, "the prior makes", wanted)
        if decoder is None:
            if not extractor.can_decode:
                raise ValueError(
                    f"{type(extractor).__name__} has no way back from Y′ to Y, so `decoder_config` is needed; got None."
                )
            return
        if decoder.source_spec is None:
            raise ValueError(
                f"{type(decoder).__name__} in the decoder's place takes no representation; it must take {made}."
            )
        _must_fit("the extractor gives", made, "the decoder takes", decoder.source_spec)
        _must_fit("the decoder makes", decoder.target_spec, "the extractor reads", extractor.target_spec)

    @property
    def target_spec(self) -> RepresentationSpec:
        return self.extractor_config.target_spec

    @property
    def source_spec(self) -> RepresentationSpec | None:
        return self.prior_config.source_spec

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs) -> None:
        """Writes config.json, and the file through which transformers finds this library by itself."""
        classes = {"AutoConfig": "RegenerationConfig", "AutoModel": "RegenerationModel"}
        classes["AutoProcessor"] = "RegenerationProcessor"
        self.auto_map = {auto: f"{REMOTE_CODE_FILE}.{name}" for auto, name in classes.items()}
        super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)

    def _write(self, folder: Path) -> None:
        super()._write(folder)
        (folder / f"{REMOTE_CODE_FILE}.py").write_text(REMOTE_CODE, encoding="utf-8")


def _must_fit(one: str, one_spec: RepresentationSpec, other: str, other_spec: RepresentationSpec) -> None:
    if not one_spec.fits(other_spec):
        raise ValueError(f"the parts do not fit together: {one} {one_spec}, but {other} {other_spec}.")
