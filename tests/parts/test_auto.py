"""Which class makes a part, of whatever is given in its place."""

import pytest
import tiny
import torch
from named_extractors import EXTRACTORS
from named_generators import GENERATORS
from transformers import AutoConfig, AutoModel, BertModel, LlamaModel, ViTConfig, ViTForImageClassification

from regen_hf import (
    AutoencoderExtractor,
    AutoregressiveGenerator,
    DiffusersModuleConfig,
    DiffusionGenerator,
    DownsampleExtractor,
    EncoderExtractor,
    ExtractorConfig,
    GeneratorConfig,
    MaskedGenerator,
    PreTrainedExtractor,
    PreTrainedGenerator,
    RegenerationModel,
    Representation,
    RepresentationSpec,
)
from regen_hf.parts.auto import load_extractor, load_generator, read_config

pytestmark = pytest.mark.usefixtures("one_thread")

CODES, GRID = RepresentationSpec((4, 4), 12), RepresentationSpec((4, 4, 4))


def subclasses(base: type) -> set[type]:
    """All of them that are the library's own."""
    found = {each for direct in base.__subclasses__() for each in {direct, *subclasses(direct)}}
    return {each for each in found if each.__module__.startswith("regen_hf.")}


def test_a_live_part_passes_through():
    extractor, prior = tiny.downsample(), tiny.diffusion_prior((4, 4, 4))
    assert load_extractor(extractor) is extractor
    assert load_generator(prior, GRID) is prior


def test_a_saved_part_comes_by_its_folder(tmp_path):
    extractor, prior = tiny.autoencoder_extractor(tiny.kl()), tiny.diffusion_prior((4, 4, 4))
    extractor.save_pretrained(tmp_path / "extractor")
    prior.save_pretrained(tmp_path / "prior")
    tiny.downsample().save_pretrained(tmp_path / "rule")
    for named in (tmp_path / "extractor", str(tmp_path / "extractor")):
        again = load_extractor(named)
        assert type(again) is AutoencoderExtractor
        assert all(map(torch.equal, again.state_dict().values(), extractor.state_dict().values()))
    again = load_generator(str(tmp_path / "prior"), GRID)
    assert type(again) is DiffusionGenerator
    assert all(map(torch.equal, again.state_dict().values(), prior.state_dict().values()))
    assert type(load_extractor(str(tmp_path / "rule"))) is DownsampleExtractor


@pytest.mark.parametrize("by_folder", [False, True], ids=["live", "by folder"])
def test_a_model_of_another_library_is_put_into_the_part_that_it_fits(by_folder, tmp_path):
    def given(model):
        if by_folder:
            model.save_pretrained(tmp_path / type(model).__name__)
        return str(tmp_path / type(model).__name__) if by_folder else model

    autoencoder, bert, sd3 = given(tiny.kl()), given(BertModel(tiny.bert())), given(tiny.sd3((4, 4, 4)))
    assert type(load_extractor(autoencoder)) is AutoencoderExtractor
    assert type(load_extractor(bert)) is EncoderExtractor
    assert type(load_generator(bert, RepresentationSpec((2, 3), 12))) is MaskedGenerator
    assert type(load_generator(sd3, GRID)) is DiffusionGenerator


def test_what_no_class_hosts_is_refused_by_its_name(tmp_path):
    plan = ViTForImageClassification(ViTConfig(**tiny.vit().to_dict()))
    with pytest.raises(
        ValueError, match=r"`prior` must make codes \(vocabulary 12.*: no generator does of a ViTForImageCl"
    ):
        load_generator(plan, CODES)
    plan.save_pretrained(tmp_path / "vit")
    with pytest.raises(ValueError, match=r"`decoder` must make .*: no generator does of `.*vit` with a ViTForImageCl"):
        load_generator(str(tmp_path / "vit"), GRID, CODES, slot="decoder")
    tiny.kl().save_pretrained(tmp_path / "kl")
    for part in (tiny.kl(), str(tmp_path / "kl")):
        with pytest.raises(ValueError, match="`prior` must make .*: no generator does of .*AutoencoderKL"):
            load_generator(part, GRID)
    tiny.sd3((4, 4, 4)).save_pretrained(tmp_path / "sd3")
    for part in (tiny.sd3((4, 4, 4)), str(tmp_path / "sd3")):
        with pytest.raises(ValueError, match="`extractor` must be a codec, an autoencoder or an encoder: .* SD3Transf"):
            load_extractor(part)
    with pytest.raises(OSError, match="nowhere"):
        load_extractor(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(OSError, match="empty"):
        load_extractor(str(tmp_path / "empty"))


def test_a_part_of_the_other_kind_is_refused(tmp_path):
    """Live or saved; and so is what is no part at all."""
    extractor, prior = tiny.downsample(), tiny.diffusion_prior((4, 4, 4))
    extractor.save_pretrained(tmp_path / "extractor")
    prior.save_pretrained(tmp_path / "prior")
    for part in (prior, str(tmp_path / "prior")):
        with pytest.raises(TypeError, match="`extractor` must be a PreTrainedExtractor, got DiffusionGenerator"):
            load_extractor(part)
        with pytest.raises(TypeError, match="`extractor` must be a PreTrainedExtractor, got DiffusionGenerator"):
            RegenerationModel.from_components(part, prior)
    for part in (extractor, str(tmp_path / "extractor")):
        with pytest.raises(TypeError, match="`decoder` must be a PreTrainedGenerator, got DownsampleExtractor"):
            load_generator(part, GRID, slot="decoder")
        with pytest.raises(TypeError, match="`prior` must be a PreTrainedGenerator, got DownsampleExtractor"):
            RegenerationModel.from_components(extractor, part)
    for nothing in (7, None, torch.nn.Linear(2, 2)):
        with pytest.raises(TypeError, match=f"`prior` must be a PreTrainedGenerator, got {type(nothing).__name__}"):
            load_generator(nothing, GRID)


@pytest.mark.parametrize("name", EXTRACTORS)
def test_one_class_hosts_an_extractor(name, tmp_path):
    EXTRACTORS[name].build().save_pretrained(tmp_path)
    described = read_config(str(tmp_path))
    assert len([each for each in subclasses(PreTrainedExtractor) if each.hosts(described)]) == 1
    generators = [
        each for each in subclasses(PreTrainedGenerator) for spec in (CODES, GRID) if each.hosts(described, spec)
    ]
    if EXTRACTORS[name].trains:  # codecs and autoencoders are never taken for backbones
        assert not generators


@pytest.mark.parametrize("name", GENERATORS)
def test_one_class_hosts_a_generator(name, tmp_path):
    part = GENERATORS[name]
    part.build().save_pretrained(tmp_path)
    described = read_config(str(tmp_path))
    hosts = [each for each in subclasses(PreTrainedGenerator) if each.hosts(described, part.target)]
    assert hosts == ([] if part.made is RegenerationModel else [part.made])


class DoublingConfig(ExtractorConfig):
    model_type = "tests_doubling"

    @property
    def target_spec(self) -> RepresentationSpec:
        return RepresentationSpec((3, 4, 4))

    representation_spec = target_spec
    can_decode = True


class Doubling(PreTrainedExtractor):
    """A user's own, of a model that no class of the library hosts."""

    config_class = DoublingConfig

    @classmethod
    def hosts(cls, described: dict) -> bool:
        return described.get("is_for_tests") is True

    @classmethod
    def from_components(cls, part, **settings) -> "Doubling":
        return cls(DoublingConfig(**settings))

    def __init__(self, config: DoublingConfig):
        super().__init__(config)
        self.factor = torch.nn.Parameter(torch.tensor(2.0))
        self.post_init()

    def encode(self, target, target_mask=None):
        return Representation(target * self.factor)

    def decode(self, representation):
        return Representation(representation.values / self.factor)


class EchoConfig(GeneratorConfig):
    model_type = "tests_echo"

    @property
    def target_spec(self) -> RepresentationSpec:
        return RepresentationSpec((3, 4, 4))


class Echo(PreTrainedGenerator):
    config_class = EchoConfig

    @classmethod
    def hosts(cls, described: dict, target: RepresentationSpec) -> bool:
        return described.get("is_for_tests") is True

    @classmethod
    def for_spec(cls, part, target, source, **settings) -> "Echo":
        return cls(EchoConfig(**settings))

    def __init__(self, config: EchoConfig):
        super().__init__(config)
        self.mean = torch.nn.Parameter(torch.ones(3, 4, 4))
        self.post_init()

    def generate(self, batch_size: int = 1) -> Representation:
        return Representation(self.mean.expand(batch_size, -1, -1, -1))


def test_a_class_of_ones_own_is_found(tmp_path):
    """By what it hosts; and in a regenerator and by a folder, once it is registered with transformers."""
    foreign, named = LlamaModel(tiny.llama(is_for_tests=True)), str(tmp_path / "foreign")
    foreign.save_pretrained(named)
    for part in (foreign, named):
        assert type(load_extractor(part)) is Doubling
        assert type(load_generator(part, RepresentationSpec((3, 4, 4)))) is Echo
    for config, own in ((DoublingConfig, Doubling), (EchoConfig, Echo)):
        AutoConfig.register(config.model_type, config, exist_ok=True)
        AutoModel.register(config, own, exist_ok=True)
    model = RegenerationModel.from_components(named, named)
    assert (model.generate(batch_size=2).values == 0.5).all()
    model.extractor.factor.data.fill_(4.0)
    model.extractor.save_pretrained(tmp_path / "extractor")
    model.prior.save_pretrained(tmp_path / "prior")
    again = RegenerationModel.from_components(str(tmp_path / "extractor"), str(tmp_path / "prior"))
    assert (type(again.extractor), type(again.prior)) == (Doubling, Echo)
    assert (again.generate(batch_size=2).values == 0.25).all()
    again.save_pretrained(tmp_path / "model")
    assert (AutoModel.from_pretrained(tmp_path / "model").generate(batch_size=2).values == 0.25).all()


def test_new_parts_come_from_configs():
    """A config instead of a name, also one of diffusers that leaves things to their defaults."""
    described = DiffusersModuleConfig(
        class_name="AutoencoderKL", module_config={"block_out_channels": [32], "sample_size": 8}
    )
    extractor = load_extractor(described)
    assert extractor.config.normalization[1] == pytest.approx([1 / 0.18215] * 4)
    assert type(load_generator(tiny.gpt2(), CODES, num_classes=2)) is AutoregressiveGenerator
    denoiser = DiffusersModuleConfig.of(tiny.sd3(GRID.shape))
    assert type(load_generator(denoiser, GRID)) is DiffusionGenerator


def test_settings_of_a_part_that_is_made_already_are_refused():
    prior = tiny.diffusion_prior(GRID.shape)
    with pytest.raises(TypeError, match="DiffusionGenerator is made already: order would have no effect"):
        load_generator(prior, GRID, order="delay")
    with pytest.raises(TypeError, match="AutoencoderExtractor is made already: kind would have no effect"):
        load_extractor(tiny.autoencoder_extractor(), kind="codes")
