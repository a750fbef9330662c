"""The example of text: end to end in a few steps, the data that it reads, and what it says of bad input."""

import json

import pytest
import task
from datasets import Dataset
from example_modules import load, shorten
from task import is_held_out
from transformers import GPT2Config, GPT2LMHeadModel, pipeline

from regen_hf import TextModality

pytestmark = pytest.mark.usefixtures("one_thread")

MODULE = '''"""Reads and writes tables. More of it."""

class FileReader:
    """A reader of files."""

    def readAll(self, max_rows, *, strict=False):
        """Read all rows of the ``file``.

        Returns a list of rows. See :func:`~other.read` for more!

        Args:
            max_rows: The most rows that are read.
        """

def _undocumented(): ...

async def write(rows): "Write the rows (as text)."
'''


@pytest.fixture(scope="module")
def run():
    return load("text_generation")


@pytest.fixture(scope="module")
def data():
    return load("text_generation", "data")


def test_signatures_and_sentences_are_those_of_the_sources(data, tmp_path, monkeypatch):
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "tables.py").write_text(MODULE)
    (tmp_path / "pack" / "test_tables.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("def {{ template }}")
    monkeypatch.setattr(data.site, "getsitepackages", lambda: [])
    monkeypatch.setattr(data.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    rows = list(data._read(tuple((package, str(root), str(path)) for package, root, path in data._sources())))
    assert [(row["signature"], row["sentence"]) for row in rows] == [
        ("", "Reads and writes tables"),
        ("", "More of it"),
        ("", "A reader of files"),
        ("def read all ( max rows , strict ) pack tables file reader", "Read all rows of the file"),
        ("", "Returns a list of rows"),
        ("", "See other.read for more"),
        ("def write ( rows ) pack tables", "Write the rows (as text)"),
    ]
    assert {row["package"] for row in rows} == {"pack"}


def test_whole_packages_are_held_out(data):
    packages = [f"package{i}" for i in range(200)]
    rows = {
        "package": packages * 2,
        "signature": [f"{name} read ( )" for name in packages] + [""] * 200,
        "sentence": [f"Read the {name}" for name in packages] + ["All of it the same"] * 200,
    }
    pairs, further, held = data.split(rows, 500, 500, 500)
    asked = {name for name in packages if is_held_out(name)}
    assert len(asked) > 2 and sorted(held["sentence"]) == sorted(f"Read the {name}" for name in asked)
    assert len(pairs) == 200 - len(asked) and len(further) == len(pairs) + 1
    assert not set(held["sentence"]) & set(further["sentence"])
    assert [len(each) for each in data.split(rows, 3, 2, 1)] == [3, 2, 1]


def test_a_folder_of_tables_is_a_dataset(tmp_path):
    (tmp_path / "pairs.csv").write_text("title,summary\na,b\n")
    assert task.named_dataset(str(tmp_path), "train")[0] == {"title": "a", "summary": "b"}


def make_few(patch, run) -> Dataset:
    """Four words of which sixteen sentences are made, and two steps a stage."""
    words = ["row", "file", "list", "name"]
    rows = [(f"module {a} {b} ( x )", f"Return the {a} of a {b}") for a in words for b in words]
    signatures, sentences = ([row[i] for row in rows] for i in (0, 1))
    dataset = Dataset.from_dict({"signature": signatures, "sentence": sentences})
    patch.setattr("task.named_dataset", lambda *_: dataset)
    patch.setattr("task.is_held_out", lambda key: "row file" in key or "name list" in key)
    patch.setattr(run, "VOCABULARY_SIZE", 60)
    shorten(patch, run, places=32)
    return dataset


@pytest.fixture
def few(run, monkeypatch):
    return make_few(monkeypatch, run)


def asked(folder, *more: str) -> list[str]:
    return ["--dataset=any", f"--output={folder / 'out'}", "--pairs=10", *more]


@pytest.fixture(scope="module")
def compared(run, tmp_path_factory):
    """The folder of a run by way of keywords, and end to end."""
    folder = tmp_path_factory.mktemp("compared")
    with pytest.MonkeyPatch.context() as patch:
        make_few(patch, run)
        run.main(asked(folder, "--compare"))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("representation", ["keywords", "text_codes"])
def test_every_way_from_the_command_line(run, few, compared, tmp_path, representation):
    folder = compared if representation == "keywords" else tmp_path
    if representation != "keywords":
        run.main(asked(folder, f"--representation={representation}"))
    metrics = json.loads((folder / "out" / "metrics.json").read_text())
    assert {"chrf", "rouge_l", "chrf_true", "rouge_l_disturbed"} <= metrics.keys()
    assert (metrics["pairs"], metrics["unpaired"], metrics["heldout_count"]) == (10, 14, 2)
    lines = (folder / "out" / "samples.tsv").read_text().splitlines()
    assert lines[1].startswith("module row file ( x )\tReturn the row of a file\t")
    pipe = pipeline("regeneration", model=str(folder / "out" / "model"))
    assert isinstance(pipe("module row list ( x )")["text"], str)


@pytest.mark.slow
def test_pairs_alone_are_enough(run, few, tmp_path):
    run.main(asked(tmp_path, "--unpaired=0"))
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (metrics["pairs"], metrics["unpaired"], metrics["heldout_count"]) == (10, 0, 2)


@pytest.mark.slow
def test_the_baseline_is_as_large_and_trained_for_as_long(compared):
    metrics = json.loads((compared / "out" / "metrics.json").read_text())
    assert metrics["direct_parameters"] == pytest.approx(metrics["parameters"], rel=0.05)
    assert {"direct_chrf", "direct_rouge_l"} <= metrics.keys() and "direct_chrf_true" not in metrics


def test_scores_are_those_of_the_field(run):
    scores = load("text_generation", "evaluate").scores
    assert scores(["read all rows"], ["read all rows"]) == {"chrf": 100.0, "rouge_l": 100.0}
    assert scores(["read all rows", "a b"], ["read no rows", "c d"])["rouge_l"] == 33.33
    held = {"signature": ["def read rows ( x ) pack"], "sentence": ["Read rows"]}
    text = TextModality.from_pieces(held["sentence"], max_length=20)
    found = load("text_generation", "evaluate").of_names(text, held, "signature", "sentence")
    assert found == {"name_chrf": 100.0, "name_rouge_l": 100.0}


@pytest.mark.parametrize(("signature", "message"), [
    ("  ", "must be text with at least one word, got '  '"), (None, "must be text, got NoneType"),
])  # fmt: skip
def test_an_empty_signature_is_named_before_anything_is_trained(run, few, monkeypatch, tmp_path, signature, message):
    rows = {"signature": ["f ( )", signature], "sentence": ["Read it all"] * 2}
    monkeypatch.setattr("task.named_dataset", lambda *_: Dataset.from_dict(rows))
    with pytest.raises(ValueError, match=message):
        run.main(asked(tmp_path))
    assert not (tmp_path / "out" / "model").exists()


@pytest.mark.slow
def test_a_language_model_by_name_writes_what_is_planned_with_adapters(run, few, tmp_path):
    texts = [*few["signature"], *few["sentence"]]
    text = TextModality.from_pieces(texts, 60)
    sizes = {"n_positions": 256, "n_embd": 16, "n_layer": 1, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}
    GPT2LMHeadModel(GPT2Config(vocab_size=len(text.tokenizer), **sizes)).save_pretrained(tmp_path / "gpt2")
    text.tokenizer.save_pretrained(tmp_path / "gpt2")
    run.main(asked(tmp_path, f"--language-model={tmp_path / 'gpt2'}"))
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert 0 < metrics["parameters_decoder"] < metrics["parameters"] / 10
    assert (tmp_path / "out" / "model" / "adapter_model.safetensors").is_file()
    pipe = pipeline("regeneration", model=str(tmp_path / "out" / "model"))
    assert isinstance(pipe("module row list ( x )")["text"], str)
    assert pipe.model.decoder_model.config.reads_codes


def test_a_language_model_needs_keywords(run, capsys):
    with pytest.raises(SystemExit):
        run.parse_arguments(["--language-model=gpt2", "--representation=text_codes"])
    assert "--language-model reads keywords, not the representation text_codes" in capsys.readouterr().err
