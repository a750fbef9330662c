"""The example of music: end to end in a few steps, the data that it reads, its rules, and what it says of bad input."""

import json

import numpy as np
import pytest
import torch
from datasets import Dataset
from example_modules import load, shorten
from music21 import converter, musicxml
from transformers import pipeline

from regen_hf import Representation, ScoreModality
from regen_hf.modalities.score_codes import FIRST_PITCH

pytestmark = pytest.mark.usefixtures("one_thread")
LOWEST = ScoreModality().lowest


def codes(*voices: str) -> list[list[int]]:
    """Of voices as text: a pitch, `.` for a note that goes on and `-` for silence."""
    meaning = {".": 1, "-": 0}
    return [[meaning.get(each) if each in meaning else int(each) - LOWEST + FIRST_PITCH for each in voice.split()]
            for voice in voices]  # fmt: skip


CHORALE = codes("72 . 74 . 71 . 72 .", "67 . 65 . 67 . 67 .", "64 . 62 . 62 . 64 .", "48 . 43 . 55 . 48 .")


@pytest.fixture(scope="module")
def data():
    return load("music_composition", "data")


def test_files_are_read_and_those_in_other_voices_left_out(data, tmp_path):
    for name, voices in (("four", 4), ("one", 1)):
        modality = ScoreModality(voices=voices)
        made = modality.from_target(torch.tensor([CHORALE[:voices]]))[0]
        made["score"].write("musicxml", tmp_path / f"{name}.musicxml")
    rows = list(data._read([str(tmp_path / "four.musicxml"), str(tmp_path / "one.musicxml")]))
    assert rows == [{"name": "four.musicxml", "metre": "4/4", "score": CHORALE}]  # as music21 writes it
    assert data._score("codes", CHORALE)["metre"] == "any metre"
    score = converter.parse(tmp_path / "four.musicxml")
    for signature in score.recurse().getElementsByClass("TimeSignature"):
        signature.ratioString = "3/4"
    assert data._score("a score", musicxml.m21ToXml.GeneralObjectExporter(score).parse())["metre"] == "3/4"


def test_chorales_are_held_out_whole_and_moved_to_other_keys(data, monkeypatch):
    rows = [{"name": f"bwv{i}", "metre": "4/4", "score": CHORALE} for i in range(3)]
    monkeypatch.setattr(data, "is_held_out", lambda name: name == "bwv1")
    trained, held = data.split(rows, 8)
    assert held["name"] == ["bwv1"] and held["score"] == [CHORALE] and held["form"] == ["G major, 4/4, 4 quarters"]
    assert trained["form"][:2] == ["E major, 4/4, 4 quarters", "F major, 4/4, 4 quarters"]
    assert data.split(rows, 8, cut=True)[1]["score"] == [CHORALE]
    assert len(data.split([{**row, "score": [v * 2 for v in CHORALE]} for row in rows], 8, cut=True)[1]) == 2
    tops = [score[0][0] - FIRST_PITCH + LOWEST for score in trained["score"]]
    assert tops == [*range(69, 76)] * 2  # three semitones lower to three higher
    assert data.transposed(np.array(CHORALE), 12) is None
    assert [piece.shape[1] for piece in data._pieces([[0] * 40] * 4, 16)] == [16, 16, 8]
    assert data.transposed(np.zeros((4, 8), dtype=int), 1) is None  # silence
    held = data._pieces(codes("72 . . . . . . . . 74"), 8)
    assert [piece.tolist() for piece in held] == [codes("72 . . . . . . ."), codes("72 74")]


def generated(voice: int, upper: list[str], own: str, width: int = 50) -> torch.Tensor:
    """What VoiceLeading leaves a voice after these notes, `(codes,)`, of generators that write with a delay."""
    rules, steps = load("music_composition", "rules"), len(upper[0].split())
    grid = codes(*upper, own)
    ids = torch.zeros(4, 1 + voice + steps - 1, dtype=torch.long)
    for row, line in enumerate(grid):
        known = line[: ids.shape[1] - 1 - row]
        ids[row, 1 + row : 1 + row + len(known)] = torch.tensor(known)
    return rules.VoiceLeading(LOWEST)(ids, torch.zeros(4, width))[voice]


def test_no_voice_is_led_in_parallel_fifths_or_octaves_or_out_of_its_range():
    code = lambda pitch: pitch - LOWEST + FIRST_PITCH  # noqa: E731
    left = generated(1, ["72 74"], "65")  # the fifth F4–C5 may not become G4–D5
    assert left[code(67)] == -torch.inf and left[code(55)] == -torch.inf and left[code(65)] == 0 and left[code(69)] == 0
    assert left[code(52)] == -torch.inf and left[code(53)] == 0 and left[code(75)] == -torch.inf
    assert not left[:FIRST_PITCH].any()  # silence, and the note that goes on
    left = generated(3, ["72 .", "67 69", "64 65"], "55")  # the octave of alto and bass
    assert left[code(57)] == -torch.inf and left[code(55)] == 0 and left[code(53)] == 0
    left = generated(3, ["72 .", "67 .", "64 ."], "48")  # who stays moves with nobody
    assert left[code(43)] == 0


def test_measures_count_what_they_say():
    evaluate = load("music_composition", "evaluate")
    true = Representation(torch.tensor([CHORALE]), torch.ones(1, 8, dtype=torch.bool))
    same = evaluate.scores(true, true, LOWEST)
    assert (same["note_accuracy"], same["chord_agreement"]) == (1.0, 1.0)
    assert same["interval_overlap"] == pytest.approx(1.0)
    assert (same["key_agreement"], same["length_error"]) == (1.0, 0.0)
    shorter = evaluate.scores(true, Representation(true.values[..., :6], true.mask[:, :6]), LOWEST)
    assert shorter["length_error"] == 2 and shorter["note_accuracy"] == 0.75
    other = true.values.clone()
    other[0, 3, 2] += 2  # another bass for a beat of four
    found = evaluate.scores(true, Representation(other, true.mask), LOWEST)
    assert found["note_accuracy"] == pytest.approx(22 / 24) and found["chord_agreement"] == 0.75
    parallel = Representation(torch.tensor([codes("72 74", "65 67", "60 60", "48 48")]), true.mask[:, :2])
    assert evaluate.rules(parallel, LOWEST) == {"parallels": 50.0, "out_of_range": 0.0}
    low = Representation(torch.tensor([codes("72 .", "52 .", "60 .", "48 .")]), true.mask[:, :2])
    assert evaluate.rules(low, LOWEST)["out_of_range"] == pytest.approx(100 / 3)


@pytest.fixture(scope="module")
def run():
    """Two steps a stage on a few chorales."""
    run = load("music_composition")
    rows = [{"name": f"bwv{i}", "metre": "4/4", "score": [voice[: 8 - 2 * (i % 2)] for voice in CHORALE]}
            for i in range(4)]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "chorales", lambda _: rows)
        patch.setitem(run.split.__globals__, "is_held_out", lambda key: key in ("bwv1", "bwv2"))
        shorten(patch, run, places=16)
        yield run


@pytest.fixture(scope="module")
def compared(run, tmp_path_factory):
    """The folder of a run by way of the template, and end to end."""
    folder = tmp_path_factory.mktemp("compared")
    run.main(["--compare", f"--output={folder / 'out'}"])
    return folder


@pytest.mark.parametrize("representation", ["harmony", pytest.param("bar_codes", marks=pytest.mark.slow)])
def test_every_way_from_the_command_line(run, compared, tmp_path, representation):
    folder = compared if representation == "harmony" else tmp_path
    if representation != "harmony":
        run.main([f"--representation={representation}", f"--output={folder / 'out'}"])
    metrics = json.loads((folder / "out" / "metrics.json").read_text())
    names = {"note_accuracy", "chord_agreement_true", "parallels_disturbed", "corpus_parallels", "heldout_count"}
    assert names <= metrics.keys()
    names = {path.name for path in (folder / "out" / "chorales").iterdir()}
    assert names == {"chorale.png", *(f"chorale.png.{i}.{kind}" for i in range(2) for kind in ("mid", "musicxml"))}
    made = pipeline("regeneration", model=str(folder / "out" / "model"))(np.array(CHORALE))
    assert made["midi"].startswith(b"MThd") and len(made["score"].parts) == 4


@pytest.mark.parametrize("representation", ["harmony", pytest.param("bar_codes", marks=pytest.mark.slow)])
def test_a_form_is_composed_too(run, tmp_path, representation):
    run.main([f"--representation={representation}", "--source=form", f"--output={tmp_path / 'out'}"])
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert {"key_agreement", "length_error", "parallels"} <= metrics.keys()
    pipe = pipeline("regeneration", model=str(tmp_path / "out" / "model"))
    assert len(pipe("C major, 4/4, 4 quarters")["score"].parts) == 4


def test_the_baseline_is_as_large_and_trained_for_as_long(compared):
    metrics = json.loads((compared / "out" / "metrics.json").read_text())
    assert metrics["direct_parameters"] == pytest.approx(metrics["parameters"], rel=0.05)
    assert {"direct_note_accuracy", "direct_chord_agreement", "direct_parallels"} <= metrics.keys()
    assert metrics["parallels"] == metrics["out_of_range"] == metrics["direct_parallels"] == 0


def test_a_score_that_cannot_be_read_is_named_before_anything_is_trained(run, tmp_path, monkeypatch):
    rows = Dataset.from_dict({"score": [CHORALE, [[99]] * 4]})
    monkeypatch.setattr("task.named_dataset", lambda *_: rows)
    with pytest.raises(ValueError, match="example 1, column 'score': target 0 must be codes from 0 to 47, got 99"):
        run.main(["--dataset=any", f"--output={tmp_path / 'out'}"])
    assert not (tmp_path / "out" / "model").exists()
    long = [{"name": f"bwv{i}", "metre": "4/4", "score": [[30] * 520] * 4} for i in range(2)]
    monkeypatch.setattr(run, "chorales", lambda _: long)
    with pytest.raises(ValueError, match="the held-out score bwv1 has more than 512 steps"):
        run.main([f"--output={tmp_path / 'out'}"])
    with pytest.raises(SystemExit):
        run.parse_arguments(["--piece=20"])
