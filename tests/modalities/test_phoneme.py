import pytest

from regen_hf import AudioModality, PhonemeModality, RegenerationProcessor


def test_reads_text_by_its_sounds():
    text = PhonemeModality.from_texts(["the cat sat", "knight"])
    assert text.phonemes == [" ", "<unk>", "aɪ", "k", "n", "s", "t", "æ", "ð", "ə"]
    batch = text.as_source(["night cat", "sat"])
    assert text.max_length == 10
    said = ["".join(text.phonemes[i] for i in row[own.bool()]) for row, own in zip(*batch.values(), strict=True)]
    assert said == ["naɪt kæt", "sæt"]
    assert batch["attention_mask"].sum(1).tolist() == [7, 3]
    assert batch["input_ids"].shape == (2, 10)


def test_language_and_stress_have_an_effect():
    german = PhonemeModality.from_texts(["ich auch"], language="de")
    assert "ç" in german.phonemes
    stressed = PhonemeModality.from_texts(["a banana"], stress=True)
    assert any("ˈ" in each for each in stressed.phonemes)
    assert not any("ˈ" in each for each in PhonemeModality.from_texts(["a banana"]).phonemes)


def test_names_what_cannot_be_read():
    text = PhonemeModality.from_texts(["the cat sat"])
    for wrong in ("???", "…"):
        with pytest.raises(ValueError, match="source 1 must be text that can be pronounced"):
            text.as_source(["the cat", wrong])
    with pytest.raises(ValueError, match="source 0 has 22 phonemes, more than the 10 of `max_length`"):
        text.as_source(["the cat sat sat sat sat"])
    with pytest.warns(UserWarning, match="'iː' in 'she sat' is a phoneme that is not known"):
        assert text.as_source(["she sat"])["input_ids"][0, 0] == 1
    with pytest.raises(ValueError, match="nothing that can be pronounced"):
        PhonemeModality.from_texts(["..."])
    with pytest.raises(ValueError, match="xx-klingon"):
        PhonemeModality.from_texts(["the cat"], language="xx-klingon")


def test_refuses_wrong_settings():
    with pytest.raises(ValueError, match="`phonemes` must begin with ' ' and '<unk>', got .'a'"):
        PhonemeModality(["a"], 4)
    with pytest.raises(ValueError, match="`max_length` must be a whole number of at least 1, got 0"):
        PhonemeModality([" ", "<unk>"], 0)


def test_is_saved(tmp_path):
    text = PhonemeModality.from_texts(["the cat sat"], max_length=20, stress=True)
    RegenerationProcessor(text, AudioModality(8000)).save_pretrained(tmp_path)
    reloaded = RegenerationProcessor.from_pretrained(tmp_path).source
    assert reloaded.to_dict() == text.to_dict() and reloaded.max_length == 20


@pytest.mark.parametrize("settings", [
    {"phonemes": " a"}, {"phonemes": [" ", "<unk>", 3]}, {"phonemes": None}, {"language": 3}, {"stress": "no"},
    {"max_length": 10**12}, {"max_length": True}, {"max_length": "5"},
])  # fmt: skip
def test_settings_are_bounded(settings):
    with pytest.raises(ValueError, match=f"`{next(iter(settings))}` must be "):
        PhonemeModality(**{"phonemes": [" ", "<unk>", "a"], "max_length": 3, **settings})


@pytest.mark.parametrize("language", ["../x", "en-us+../../../etc/passwd", "en-us+..", "en-us+a\\b"])
def test_a_voice_is_no_path(language):
    with pytest.raises(ValueError, match="`language` must be one that espeak-ng knows"):
        PhonemeModality([" ", "<unk>", "a"], 3, language).as_source(["a"])
