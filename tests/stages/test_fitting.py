import warnings

import pytest
import tiny
import torch
from pairs import pairs
from runs import arguments, run

from regen_hf import RegenerationModel, add_lora
from regen_hf.generators.sources.statistics import ChannelStatistics
from regen_hf.stages.fitting import StatisticsFitting

FEW = pairs().select(range(4))  # red alone: a channel at 1, two at -1


def statistics(model):
    found = ((name, each) for name, each in model.named_modules() if isinstance(each, ChannelStatistics))
    return {name: each.mean.tolist() + each.std.tolist() for name, each in found}


class Reads(torch.nn.Module):
    """Knows what it makes and what it reads, each or not."""

    def __init__(self, made=None, read=None):
        super().__init__()
        self.made, self.read = ChannelStatistics(1), ChannelStatistics(1)
        for each, known in ((self.made, made), (self.read, read)):
            if known is not None:
                each.assign([known], [1.0])

    def fit_statistics(self, targets, sources=None):
        self.made.fit(targets)
        if sources is not None:
            self.read.fit(sources)


def batches(*values):
    return [torch.tensor([[[value - 1.0, value + 1.0]]]) for value in values]


@pytest.mark.parametrize(("part", "settings", "means"), [
    (Reads(), {}, (5.0, 7.0)),
    (Reads(made=4.0), {}, (4.0, 7.0)),
    (Reads(read=8.0), {}, (5.0, 8.0)),
    (Reads(made=4.0, read=8.0), {}, (4.0, 8.0)),
    (Reads(made=4.0, read=8.0), {"again": True}, (5.0, 7.0)),
    (Reads(made=4.0), {"fixed": True}, (4.0, 0.0)),
    (Reads(made=4.875, read=8.0), {"stale": ([4.875], [1.0])}, (4.875, 8.0)),  # near enough
    (Reads(made=2.0, read=8.0), {"stale": ([2.0], [1.0])}, (5.0, 8.0)),
    (Reads(made=2.0, read=2.0), {"stale": (2.0, 1.0), "fixed": True}, (2.0, 2.0)),
])  # fmt: skip
def test_what_is_known_is_kept_and_what_is_not_is_measured(part, settings, means):
    StatisticsFitting(**settings).fit(part, batches(5.0), batches(7.0))
    assert (part.made.mean.item(), part.read.mean.item()) == means


@pytest.mark.parametrize(("again", "means"), [(True, (4.0, 8.0)), (False, (4.0, 8.0))])
def test_what_a_finished_stage_has_measured_is_not_measured_again(again, means):
    part, fitting = Reads(made=4.0, read=8.0), StatisticsFitting(again=again)
    fitting.loaded(part)
    fitting.fit(part, batches(5.0), batches(7.0))
    assert (part.made.mean.item(), part.read.mean.item()) == means


def test_what_is_stale_when_a_finished_stage_is_loaded_is_measured():
    part, fitting = Reads(made=2.0, read=8.0), StatisticsFitting(stale=([2.0], [1.0]))
    fitting.loaded(part)
    fitting.fit(part, batches(5.0), batches(7.0))
    assert (part.made.mean.item(), part.read.mean.item()) == (5.0, 8.0)


def test_again_is_once():
    part, fitting = Reads(made=4.0, read=8.0), StatisticsFitting(again=True)
    fitting.fit(part, batches(5.0), batches(7.0))
    fitting.fit(part, batches(6.0), batches(6.0))
    assert (part.made.mean.item(), part.read.mean.item()) == (5.0, 7.0)


def test_data_that_is_grossly_unlike_what_is_kept_is_told_with_both():
    with pytest.warns(UserWarning, match="Reads keeps .* mean 4, deviation 1.*mean 40, .*set `measure_statistics`"):
        StatisticsFitting().fit(Reads(made=4.0), batches(40.0), batches(7.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        StatisticsFitting().fit(Reads(made=4.0), batches(9.0), batches(7.0))


def test_what_is_known_stays_though_the_data_cannot_be_measured():
    part = Reads(made=4.0)
    with pytest.raises(ValueError, match="finite"):
        StatisticsFitting().fit(part, batches(float("nan")), batches(7.0))
    assert part.made.mean.item() == 4.0


@pytest.mark.filterwarnings("ignore:.*keeps its statistics")
def test_a_trained_prior_keeps_its_statistics_unless_asked(tmp_path):
    trained, _ = run(tmp_path / "first", "identity", prior=arguments(2))
    before = statistics(trained)
    assert before["prior.statistics"] != [0.0] * 3 + [1.0] * 3
    load = RegenerationModel.from_pretrained
    few = {"dataset": FEW, "prior": None}
    for stage in ("prior", "joint"):
        model = load(tmp_path / "first" / "model")
        run(tmp_path / stage, "identity", model=model, **{**few, stage: arguments(2)})
        assert statistics(model) == before
    model = load(tmp_path / "first" / "model")
    run(tmp_path / "again", "identity", model=model, dataset=FEW, prior=arguments(2), measure_statistics=True)
    assert statistics(model)["prior.statistics"][:3] == pytest.approx([1.0, -1.0, -1.0], abs=1e-3)
    model = load(tmp_path / "first" / "model")
    add_lora(model, ["prior"])
    with pytest.raises(ValueError, match="`measure_statistics` cannot be had with adapters"):
        run(tmp_path / "lora", "identity", model=model, measure_statistics=True)


@pytest.mark.filterwarnings("ignore:.*keeps its statistics")
def test_what_a_pretrained_autoencoder_says_is_kept_until_it_is_trained_here(tmp_path):
    def model():
        extractor = tiny.autoencoder_extractor(tiny.kl())
        return RegenerationModel.from_components(extractor, tiny.diffusion_prior((4, 8, 8)))

    known = pytest.approx([0.0] * 4 + [1 / 0.18215] * 4)
    kept, _ = run(tmp_path / "prior", model=model(), extractor=None, prior=arguments(2))
    assert statistics(kept)["prior.statistics"] == known
    trained, _ = run(tmp_path / "both", model=model(), extractor=arguments(2), prior=arguments(2))
    assert max(statistics(trained)["prior.statistics"][4:]) < 2.5


def test_joint_training_alone_measures_every_part(tmp_path):
    model, _ = run(tmp_path / "rows", "lowres", prior=None, decoder=None, joint=arguments(2))
    found = statistics(model)
    assert len(found) == 3 and all(each[3:] != [1.0] * 3 for each in found.values())
    target = tiny.processor()(target=pairs()["image"])["target"]
    assert found["decoder_model.statistics"][:3] == pytest.approx(target.mean((0, 2, 3)).tolist(), abs=1e-4)
    streamed, _ = run(
        tmp_path / "stream", "lowres", prior=None, decoder=None, joint=arguments(2),
        dataset=pairs().to_iterable_dataset(),
    )  # fmt: skip
    for name, each in statistics(streamed).items():
        assert each == pytest.approx(found[name], abs=1e-4)


def test_measuring_again_needs_a_stage_that_measures(tmp_path):
    with pytest.raises(ValueError, match="`measure_statistics` is for the stages prior, decoder and joint"):
        run(tmp_path, prior=None, measure_statistics=True)
