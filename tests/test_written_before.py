"""What an earlier commit saved, extracted and began, today's code reads, takes as its own and goes on with."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoProcessor
from written_before import write
from written_before.write import HERE, SOURCES

import regen_hf
from regen_hf import RegenerationModel, RegenerationProcessor, RepresentationCache, TokenAutoencoderExtractor

pytestmark = pytest.mark.usefixtures("one_thread")
CONFIGS = json.loads((HERE / "configs.json").read_text(encoding="utf-8"))
MADE = json.loads((HERE / "made.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", MADE)
def test_a_saved_regenerator_loads_and_makes_the_same(name):
    assert type(AutoModel.from_pretrained(HERE / name)) is RegenerationModel
    assert type(AutoProcessor.from_pretrained(HERE / name)) is RegenerationProcessor
    made, before = write.made_by(HERE / name, SOURCES[name]), MADE[name]
    assert made["representation_mask"] == before["representation_mask"]
    for part in ("representation", "values"):
        if name == "codes":
            assert made[part] == before[part], part
        else:
            np.testing.assert_allclose(made[part], before[part], atol=1e-3, err_msg=part)
    for now, then in zip(made["shown"], before["shown"], strict=True):
        if isinstance(then, str):
            assert now == then
        else:  # of 256 shades, where the last digit of a float may decide between two
            np.testing.assert_allclose(now, then, atol=1)


@pytest.fixture
def cache(tmp_path):
    shutil.copytree(HERE / "cache", tmp_path / "cache")
    return tmp_path / "cache"


def test_a_cache_is_read(cache):
    found = RepresentationCache(cache)
    assert found.spec == regen_hf.RepresentationSpec((None,), 9) and len(found) == len(write.TEXTS)
    assert found.dataset["color"] == write.load_from_disk(str(HERE / "data"))["color"]
    again = write.extracted(cache.with_name("again"))
    now, then = (
        {**each.description, **each.description["fingerprint"], "fingerprint": None} for each in (again, found)
    )
    differ = {name for name in now.keys() | then.keys() if now.get(name) != then.get(name)}
    assert differ == {"configuration", "data", "facts"}  # data is told by its contents now, a config as before saving
    for name in ("values", "mask"):
        assert torch.equal(getattr(again[:], name), getattr(found[:], name)), name
    assert (cache / "shard-00000.arrow").read_bytes() == (cache.with_name("again") / "shard-00000.arrow").read_bytes()


def counted(monkeypatch) -> list[int]:
    """How many texts are encoded at a time from now on."""
    sizes, encode = [], TokenAutoencoderExtractor.encode

    def counting(self, target, target_mask=None):
        sizes.append(len(target))
        return encode(self, target, target_mask)

    monkeypatch.setattr(TokenAutoencoderExtractor, "encode", counting)
    return sizes


def test_a_cache_is_taken_for_one_of_its_data_and_extractor(cache, monkeypatch):
    sizes = counted(monkeypatch)
    write.extracted(cache)
    assert not sizes


def test_a_cache_that_was_begun_is_gone_on_with(tmp_path, monkeypatch):
    shutil.copytree(HERE / ".begun.partial", tmp_path / ".begun.partial")
    sizes = counted(monkeypatch)
    found = write.extracted(tmp_path / "begun")
    assert sizes == [2, 2] and len(found) == 8
    assert {path.name for path in tmp_path.iterdir()} == {"begun"}
    assert list(found.description["shards"].values()) == [4, 4]
    whole = RepresentationCache(HERE / "cache")
    assert torch.equal(found[:].values, whole[:].values) and torch.equal(found[:].mask, whole[:].mask)


def parts_of_a_run(seed: int) -> torch.nn.ModuleDict:
    torch.manual_seed(seed)
    model, loss = write.learner()
    return torch.nn.ModuleDict({"model": model, "losses": torch.nn.ModuleList([loss])})


def test_a_run_that_was_interrupted_goes_on_and_ends_as_one_that_was_not(tmp_path):
    """In another process or on another machine than it began, rounding may differ, and nothing else."""
    folder = tmp_path / "run"
    shutil.copytree(HERE / "run", folder)
    extracted_before = {path.name for path in (folder / "representations").iterdir()}
    resumed, steps = parts_of_a_run(1), []
    resumed["model"].prior.register_forward_pre_hook(lambda *_: steps.append("prior"))
    resumed["model"].extractor.register_forward_pre_hook(lambda *_: steps.append("extractor"))
    results = write.trained(folder, resumed["model"], resumed["losses"][0], resume=True)
    assert steps[:6] == ["prior"] * 6 and sorted(steps[6:]) == ["extractor"] * 2 + ["prior"] * 2
    assert [(result.name, result.steps) for result in results] == [("extractor", 3), ("prior", 6), ("joint", 2)]
    assert {path.name for path in (folder / "representations").iterdir()} == extracted_before

    start, whole = load_file(HERE / "run" / "stages" / "start.safetensors"), parts_of_a_run(2)
    whole.load_state_dict(start)
    for one, other in zip(results, write.trained(tmp_path / "whole", whole["model"], whole["losses"][0]), strict=True):
        assert one.parameters == other.parameters
        np.testing.assert_allclose(one.losses, other.losses, rtol=1e-3)
    for part in ("model.extractor", "model.prior", "losses"):
        names = [name for name in start if name.startswith(part)]
        states = resumed.state_dict(), whole.state_dict()
        one, other = (torch.cat([(state[name] - start[name]).flatten() for name in names]) for state in states)
        assert other.norm() > 0 and (one - other).norm() < 0.01 * other.norm(), part


def unversioned(described):
    """A configuration without what tells who wrote it."""
    if isinstance(described, list):
        return [unversioned(each) for each in described]
    if not isinstance(described, dict):
        return described
    versions = ("transformers_version", "_diffusers_version", "_name_or_path", "dtype")
    return {name: unversioned(value) for name, value in described.items() if name not in versions}


def test_every_class_that_was_written_is_public():
    assert CONFIGS.keys() <= set(regen_hf.__all__)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_comes_back_and_builds_the_same_tensors(name, tmp_path):
    config = CONFIGS[name]["config"]
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    made = AutoConfig.for_model(**config)
    for again in (made, AutoConfig.from_pretrained(tmp_path), type(made).from_dict(config)):
        assert type(again) is getattr(regen_hf, name).config_class
        assert unversioned(json.loads(again.to_json_string())) == unversioned(config)
    model = AutoModel.from_config(made)
    assert type(model) is getattr(regen_hf, name)
    assert write.digest(model) == CONFIGS[name]["tensors"]
