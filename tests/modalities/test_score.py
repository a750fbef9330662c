import sys

import numpy as np
import pytest
import torch
from music21 import corpus, harmony, note, stream

from regen_hf import ScoreModality

CODES = [[26, 1, 28, 0], [0, 1, 19, 1]]  # C4 for a quarter, D4, a rest; a rest, and F3 for a quarter
DUET = ScoreModality(voices=2)


def duet() -> stream.Score:
    score = stream.Score()
    for events in ([("C4", 1.0), ("D4", 0.5)], [(None, 1.0), ("F3", 1.0)]):
        part = stream.Part()
        for pitch, quarters in events:
            part.append(
                note.Rest(quarterLength=quarters) if pitch is None else note.Note(pitch, quarterLength=quarters)
            )
        score.insert(0, part)
    return score


def test_a_code_for_each_voice_at_each_step():
    found = DUET.as_target([duet()])
    assert found["target"].tolist() == [[[26, 1, 28, 0], [0, 0, 19, 1]]]
    assert found["target_mask"].tolist() == [[True] * 4] and DUET.num_codes == 48
    assert ScoreModality(2, steps_per_quarter=1).as_target([duet()])["target"].tolist() == [[[26, 28], [0, 19]]]


def test_names_of_chords_are_no_notes():
    score = duet()
    score.parts[0].insert(0, harmony.ChordSymbol("G7"))
    assert DUET.as_target([score])["target"].tolist() == [[[26, 1, 28, 0], [0, 0, 19, 1]]]


def test_what_lies_between_two_steps_does_not_take_the_beat():
    part = stream.Part([note.Note(pitch, quarterLength=0.25) for pitch in ("C4", "D4", "E4", "F4", "G4")])
    assert ScoreModality(1).as_target([part])["target"].tolist() == [[[26, 30, 33]]]  # C, E and G: 0, 0.5 and 1


def test_transposing_instruments_are_read_as_they_sound():
    from music21 import instrument

    part = stream.Part([instrument.Clarinet(), note.Note("D4")])
    part.atSoundingPitch = False
    assert ScoreModality(1).as_target([part])["target"].tolist() == [[[26, 1]]]


def test_fine_grids_survive_midi():
    fine = ScoreModality(1, steps_per_quarter=8)
    codes = torch.tensor([[[26, 28, 30, 1, 1, 31, 1, 28]]])
    assert torch.equal(fine.as_target([fine.from_target(codes)[0]["midi"]])["target"], codes)


def test_the_melody_is_the_source():
    found = DUET.as_source([duet(), np.array([[26, 1]])])
    assert found["input_ids"].tolist() == [[27, 2, 29, 1], [27, 2, 0, 0]]
    assert found["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]


def test_scores_are_padded_to_the_longest():
    found = DUET.as_target([np.array(CODES), np.array(CODES)[:, :1]])
    assert found["target"].shape == (2, 2, 4) and found["target_mask"].sum(1).tolist() == [4, 1]
    made = DUET.from_target(found["target"], found["target_mask"])
    assert [each["score"].highestTime for each in made] == [2.0, 0.5]


def test_what_it_makes_it_reads(tmp_path):
    made = DUET.from_target(torch.tensor([CODES]))[0]
    expected = [[26, 1, 28, 0], [0, 0, 19, 1]]  # what would go on from silence is silence
    (tmp_path / "a.mid").write_bytes(made["midi"])
    made["score"].write("musicxml", tmp_path / "a.musicxml")
    text = (tmp_path / "a.musicxml").read_bytes()
    for form in (made["score"], made["midi"], tmp_path / "a.mid", str(tmp_path / "a.musicxml"), text):
        assert DUET.as_target([form])["target"][0, :, :4].tolist() == expected


def test_a_chorale_is_four_voices_in_range():
    codes = ScoreModality().as_target([corpus.parse("bach/bwv66.6", forceSource=True)])["target"]
    assert codes.shape == (1, 4, 72)
    pitches = [row[row > 1].float().mean() for row in codes[0]]
    assert pitches == sorted(pitches, reverse=True)


def test_samples_are_piano_rolls_and_files(tmp_path):
    made = DUET.from_target(torch.tensor([CODES, [[1] * 4, [0] * 4]]))  # and silence
    assert DUET.save_samples(made, ["a", "b"], tmp_path / "x" / "rolls") == tmp_path / "x" / "rolls.png"
    assert {path.name for path in (tmp_path / "x").iterdir()} == {
        "rolls.png", "rolls.png.0.mid", "rolls.png.0.musicxml", "rolls.png.1.mid", "rolls.png.1.musicxml",
    }  # fmt: skip


def test_refuses_what_it_cannot_take(tmp_path, monkeypatch):
    (tmp_path / "broken.mid").write_bytes(b"no score")
    (tmp_path / "broken.musicxml").write_bytes(b"<score-partwise>")
    (tmp_path / "cut.mid").write_bytes(b"MThd")
    for name in ("broken.mid", "broken.musicxml", "absent.mid", "cut.mid"):
        with pytest.raises(ValueError, match=f"{name} is no readable score"):
            DUET.as_target([tmp_path / name])
    with pytest.raises(ValueError, match="target 0 is no readable score"):
        DUET.as_target([b"no score"])
    with pytest.raises(ValueError, match="target 0 holds 2 scores"):
        DUET.as_target([stream.Opus([duet(), duet()])])
    with pytest.raises(ValueError, match="target 0 must have 4 parts, got 2"):
        ScoreModality().as_target([duet()])
    with pytest.raises(ValueError, match="source 0 has the pitch 60, which is not from `lowest` 61 to `highest` 81"):
        ScoreModality(lowest=61).as_source([duet()])
    with pytest.raises(ValueError, match="source 0 has no notes"):
        DUET.as_source([stream.Score()])
    with pytest.raises(ValueError, match=r"must be whole numbers \(2, steps\), got \(1, 3\), torch.int64"):
        DUET.as_target([np.array([[1, 2, 3]])])
    with pytest.raises(ValueError, match="must be codes from 0 to 47, got 48"):
        DUET.as_target([np.array([[1], [48]])])
    with pytest.raises(TypeError, match="target 0 must be a path or bytes of a score, .* got int"):
        DUET.as_target([3])
    with pytest.raises(ValueError, match="`voices` must be a whole number of at least 1, got 0"):
        ScoreModality(voices=0)
    with pytest.raises(ValueError, match="`lowest` and `highest` must be pitches from 0 to 127, got 60 and 60"):
        ScoreModality(lowest=60, highest=60)
    monkeypatch.setitem(sys.modules, "music21", None)
    with pytest.raises(ImportError, match=r"pip install 'regen_hf\[music\]'"):
        DUET.as_target([tmp_path / "broken.mid"])


def test_settings_survive():
    assert ScoreModality(**DUET.to_dict()).to_dict() == DUET.to_dict()


def test_voices_of_different_length_are_named():
    with pytest.raises(ValueError, match="target 1 must be whole numbers, as many for each voice"):
        ScoreModality(voices=2).as_target([[[26, 28], [30, 1]], [[26, 28], [30]]])
