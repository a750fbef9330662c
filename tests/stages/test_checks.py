import pytest
import tiny
import torch
from datasets import Dataset
from runs import run

from regen_hf import StageArguments
from regen_hf.cache.fingerprints import older_config_text
from regen_hf.stages.checks import check_keepable, check_stages, identity, needed_bytes
from regen_hf.stages.data import RunData

DATA = Dataset.from_dict({"text": ["a"]})


def arguments(**settings):
    return StageArguments(**{"max_steps": 5, **settings})


def check(model=None, dataset=DATA, unpaired=None, losses=(), validation=None, representations=None, **asked):
    data = RunData(dataset, "text", "image", unpaired, validation, representations)
    check_stages(model or tiny.latent_model(), asked, data, losses)


def frozen():
    model = tiny.latent_model()
    model.prior.requires_grad_(False)
    return model


@pytest.mark.parametrize(("settings", "message"), [
    ({}, "there is nothing to train"),
    ({"prior": arguments(group_by_length=True)}, "`group_by_length` needs Y′ that varies in length, which stage prior"),
    ({"prior": arguments(), "model": frozen()}, "`prior` asks to train DiffusionGenerator, which has no parameter"),
    ({"extractor": arguments(num_workers=2), "dataset": DATA.to_iterable_dataset()}, "`num_workers` must be 0"),
    ({"extractor": arguments(), "prior": arguments(), "representations": object()},
     r"`representations` are for prior and decoder alone; the stages asked for are \['extractor', 'prior'\]"),
    ({"prior": arguments(), "representations": object(), "dataset": DATA.to_iterable_dataset()},
     "`representations` belong to the rows of a dataset, and cannot be had with a stream"),
    ({"joint": arguments(), "representations": object()}, "`representations` are for prior and decoder alone"),
    ({"prior": arguments(predicted=0.5)}, "`predicted` is for the stage decoder"),
    ({"prior": arguments(keep="best", eval_every=1)}, "`keep` is 'best' for the stage prior, which needs `validation`"),
])  # fmt: skip
def test_what_a_stage_could_not_follow_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        check(**settings)


def test_what_every_stage_can_follow_passes():
    asked = {name: arguments(gradient_checkpointing=True) for name in ("extractor", "prior", "joint")}
    check(**asked, validation=DATA, unpaired=DATA)


def test_a_part_without_checkpointing_is_named():
    model = tiny.latent_model()
    model.prior.supports_gradient_checkpointing = False
    with pytest.raises(ValueError, match="`gradient_checkpointing` is not possible with DiffusionGenerator, of stage"):
        check(model, prior=arguments(gradient_checkpointing=True))


def test_statistics_that_nothing_has_are_not_measured():
    data, asked = RunData(DATA, "text", "image"), {"extractor": arguments(), "prior": arguments()}
    check_stages(tiny.latent_model(), asked, data, (), measure_statistics=True)
    with pytest.raises(ValueError, match=r"`measure_statistics` has no effect: what is trained of RegenerationModel, "):
        check_stages(tiny.code_model(), asked, data, (), measure_statistics=True)


def test_what_saving_writes_into_a_config_makes_no_other_run(tmp_path):
    model, data = tiny.latent_model(), RunData(DATA, "text", "image")

    def describe(begun=None):
        return identity(model, tiny.processor(), {"prior": None}, data, (), begun=begun)["model"]

    before = describe()
    model.save_pretrained(tmp_path)
    assert describe() == before and "architectures" not in before
    older = older_config_text(model.config)
    assert describe({"model": older}) == older != before


def test_what_is_trained_belongs_to_a_run():
    def describe(model, **settings):
        return identity(model, tiny.processor(), {"prior": None}, RunData(DATA, "text", "image"), (), **settings)

    assert describe(tiny.latent_model()) == describe(tiny.latent_model())
    assert describe(tiny.latent_model())["trained parameters"] != describe(frozen())["trained parameters"]


def test_space_is_asked_for_what_is_written():
    model = tiny.latent_model()
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    assert needed_bytes(model, RunData(DATA, "text", "image")) == 12 * weights + 4 * 1 * 4 * 4 * 4


def _share(model):
    model.decoder_model.denoiser.net.conv_in = model.prior.denoiser.net


def _tie(model):
    model.decoder_model.source_encoder.null = model.prior.source_encoder.null


def _drop(model):
    model.prior.source_encoder.encoder.pooler = None


def _add(model):
    model.prior.further = torch.nn.Linear(2, 2)


def _grow(model):
    model.prior.source_encoder.encoder.resize_token_embeddings(20)
    model.prior.source_encoder.encoder.config.vocab_size = 16


@pytest.mark.parametrize(("change", "message"), [
    (_tie, "`model` has one tensor in two places, which cannot be saved.*prior.source_encoder.null"),
    (_share, "`model` has one tensor in two places, which cannot be saved"),
    (_drop, r"prior.*pooler.* of RegenerationModel is missing, but .* by its config"),
    (_add, r"prior.further.* of RegenerationModel is .*, but missing by its config"),
    (_grow, r"word_embeddings.weight of RegenerationModel is of shape \(20, 16\), but of shape \(16, 16\) by its"),
])  # fmt: skip
def test_what_could_not_be_kept_is_told_before_it_is_trained(change, message, tmp_path):
    model = tiny.lowres_model()
    check_keepable(model, tiny.processor())
    change(model)
    with pytest.raises(ValueError, match=message):
        run(tmp_path, "lowres", model=model)
    assert not list(tmp_path.iterdir())
