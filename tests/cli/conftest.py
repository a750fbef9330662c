"""A folder of models and datasets that every test of a command works in, and ways to run one there."""

import copy
import re
from pathlib import Path
from types import SimpleNamespace

import datasets
import pytest
import tiny
import torch
import transformers
from cli.command_runs import save
from datasets import DatasetDict
from pairs import pairs
from transformers import BertModel

from regen_hf import RegenerationModel, losses
from regen_hf.cache import extraction, representations
from regen_hf.cli import main
from regen_hf.stages import lora, regenerator

QUICK = {"num_inference_steps": 2}


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A folder with models and datasets of every form."""
    place = tmp_path_factory.mktemp("cli")
    torch.manual_seed(0)
    prior = tiny.diffusion_prior((4, 4, 4), generation=QUICK)
    save(RegenerationModel.from_components(tiny.autoencoder_extractor(), prior), place / "model")
    lowres = tiny.diffusion_prior((3, 4, 4), generation=QUICK), tiny.diffusion_decoder(generation=QUICK)
    save(RegenerationModel.from_components(tiny.downsample(), *lowres), place / "lowres")
    data = pairs()
    data.save_to_disk(place / "flat")
    parts = DatasetDict(train=data, validation=data.select(range(6)))
    parts.save_to_disk(place / "splits")
    (place / "files").mkdir()
    for name, part in parts.items():
        part.to_parquet(place / "files" / f"{name}.parquet")
    BertModel(tiny.bert()).save_pretrained(place / "bert")
    return place


@pytest.fixture(autouse=True)
def there(place, one_thread, monkeypatch):
    monkeypatch.chdir(place)


@pytest.fixture
def run(capsys):
    """Runs a command; gives its status, what it printed and what it complained of."""

    def run(*argv):
        status = 0
        try:
            main([str(each) for each in argv])
        except SystemExit as stopped:
            status = stopped.code
        said = capsys.readouterr()
        told = said.err.replace("\r", "\n").strip()  # progress bars, then what was wrong
        complaint = re.search(r"^(error:|training was).*", told, flags=re.M | re.S)
        return SimpleNamespace(status=status, out=said.out, error=complaint[0] if complaint else "")

    return run


@pytest.fixture
def refused(run):
    """Runs a command that must be refused before any work, in one line that says what is wrong."""

    def refused(argv, message):
        found = run(*argv)
        assert found.status == 2
        assert found.error.startswith("error: ") and "\n" not in found.error and len(found.error) < 900
        assert re.search(message, found.error), found.error
        assert not list(Path("out").rglob("*.safetensors"))

    return refused


@pytest.fixture(scope="session")
def parts():
    return tiny.latent_model(), tiny.processor()


class Data:
    """A dataset that remembers how it came to be."""

    column_names = ["source", "target", "text", "image"]
    features = None

    def __init__(self, name, config=None, **how):
        self.name, self.config, self.how, self.shuffled, self.read = name, config, how, None, []

    def shuffle(self, **how):
        self.shuffled = how
        return self

    def __getitem__(self, column):
        self.read.append(column)
        return ["a", "b", "c"]


@pytest.fixture
def calls(parts, monkeypatch):
    """What is called by a command in place of the work: arguments by name."""
    made = SimpleNamespace(data={})
    model, processor = copy.deepcopy(parts)

    def note(name, result=None):
        def call(*args, **kwargs):
            setattr(made, name, SimpleNamespace(args=args, **kwargs))
            return result

        return call

    def load(name, config=None, **how):
        made.data[how["split"], name] = Data(name, config, **how)
        return made.data[how["split"], name]

    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", note("model", model))
    monkeypatch.setattr(transformers.AutoProcessor, "from_pretrained", note("processor", processor))
    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(regenerator, "train_regenerator", note("train", []))
    monkeypatch.setattr(lora, "add_lora", note("lora"))
    monkeypatch.setattr(losses, "PerceptualLoss", note("perceptual", "perceptual"))
    monkeypatch.setattr(losses, "AdversarialLoss", note("adversarial", "adversarial"))
    cache = type("Cache", (list,), {"spec": "a spec", "push_to_hub": staticmethod(note("push"))})()
    monkeypatch.setattr(representations.RepresentationCache, "from_hub", note("from_hub", "cache"))
    monkeypatch.setattr(extraction, "extract", note("extract", cache))
    monkeypatch.setattr(processor.target, "prepare_column", lambda dataset, column: dataset)
    monkeypatch.setattr(transformers, "pipeline", lambda *args, **kwargs: note("pipe", [["y"]]))
    monkeypatch.setattr(processor.target, "save_samples", note("save"))
    return made


@pytest.fixture
def reaches(run, calls):
    """Checks that an option changes what the one call is given that makes use of it."""

    def reaches(least, more, find, expected):
        found = run(*least)
        assert found.status == 0, found.error
        if "--stages" not in more:  # else there is another stage to look at
            assert find(calls) != expected, "it is so without the option"
        calls.data.clear()
        found = run(*least, *more)  # of what is given twice, the last counts
        assert found.status == 0, found.error
        assert find(calls) == expected

    return reaches
