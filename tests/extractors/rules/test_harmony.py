import pytest
import torch
from extractors.conformance import ExtractorConformance

from regen_hf import HarmonyExtractor
from regen_hf.extractors.rules.harmony import BOOKS, CHORDS, NO_CHORD, chords, pitch_classes

RULE = HarmonyExtractor.from_components()
A, B = 2 - 36, 1  # what makes a code of a pitch, and what holds it


def score(*beats: tuple[int, int, int, int]) -> torch.Tensor:
    """`(1, 4, steps)`: four pitches of two steps each."""
    return torch.tensor([[[code for beat in beats for code in (beat[voice] + A, B)] for voice in range(4)]])


CADENCE = score((72, 67, 64, 48), (72, 69, 65, 53), (71, 67, 62, 55), (72, 67, 64, 48))  # C, F, G, C


class TestHarmony(ExtractorConformance):
    def make(self):
        return HarmonyExtractor.from_components()

    def target(self):
        return torch.randint(2, 48, (4, 4, 6), generator=torch.Generator().manual_seed(0))

    def test_gives_what_its_config_says(self, extractor):
        spec, found = extractor.config.representation_spec, extractor.encode(self.target())
        assert (spec.shape, spec.num_codes, spec.num_codebooks) == ((6, None), 61, 6)
        assert found.values.shape == (4, 6, 6) and 0 <= found.values.min() <= found.values.max() < 61

    def test_runs_in_bfloat16(self, extractor):
        assert extractor.to(torch.bfloat16).encode(self.target()).values.dtype == torch.long


def books(target: torch.Tensor, mask: torch.Tensor | None = None) -> dict[str, list[int]]:
    return dict(zip(BOOKS, RULE.encode(target, mask).values[0].tolist(), strict=True))


def test_says_what_a_cadence_is_made_of():
    found = books(CADENCE)
    assert found["melody"] == [38, 1, 38, 1, 37, 1, 38, 1]
    assert found["key"] == [0] * 8  # C major
    assert found["chord"] == [0, 0, 25, 25, 35, 35, 0, 0]
    assert found["bass"] == [0, 0, 5, 5, 7, 7, 0, 0]
    assert found["rhythm"] == [7, 0] * 4
    assert found["cadence"] == [0, 0, 0, 0, 0, 0, 1, 0]  # ends, on the tonic


def test_rhythm_tells_the_voices_apart():
    held = CADENCE.clone()
    held[0, 1, 2], held[0, 3, 3] = 1, 20  # the alto goes on, the bass moves in between
    assert books(held)["rhythm"] == [7, 0, 6, 4, 7, 0, 7, 0]


def test_a_melody_that_rests_for_two_beats_ends_a_phrase():
    held = CADENCE.clone()
    held[0, 0, 2:] = 1
    assert books(held)["cadence"] == [1, 0, 0, 0, 0, 0, 0, 0]


def test_minor_keys_and_silence():
    minor = score((69, 64, 60, 45), (68, 64, 59, 40), (69, 64, 60, 45))
    assert books(minor)["key"] == [2 * 9 + 1] * 6
    silent = torch.zeros(1, 4, 4, dtype=torch.long)
    assert books(silent)["chord"] == [NO_CHORD] * 4 and books(silent)["bass"] == [12] * 4


def test_padding_says_nothing_and_changes_nothing():
    padded = torch.cat([CADENCE, CADENCE + 1], dim=2)
    mask = torch.arange(16)[None] < 8
    found = RULE.encode(padded, mask)
    assert torch.equal(found.mask, mask) and not found.values[:, :, 8:].any()
    assert torch.equal(found.values[:, :, :8], RULE.encode(CADENCE).values)


@pytest.mark.parametrize(("kind", "notes"), list(enumerate(CHORDS.values())))
def test_each_chord_is_found_on_each_root(kind, notes):
    for root in range(12):
        weights = torch.zeros(12)
        weights[[(root + note) % 12 for note in notes]] = 1.0
        weights[root] = 2.0
        assert chords(weights) == root * len(CHORDS) + kind


def test_pitch_classes_of_what_sounds():
    found = pitch_classes(torch.tensor([26, 1, 0, 1]), lowest=36)  # C4, held, then silence
    assert found.argmax(-1).tolist()[:2] == [0, 0] and found.sum(-1).tolist() == [1, 1, 0, 0]


def test_refuses_what_is_no_score():
    with pytest.raises(ValueError, match=r"`target` must be \(batch, 4, steps\), got \(1, 3, 2\)"):
        RULE.encode(torch.zeros(1, 3, 2, dtype=torch.long))
    with pytest.raises(ValueError, match="`target` must be codes from 0 to 47, got 0 to 48"):
        RULE.encode(torch.tensor([[[48], [0], [0], [0]]]))
    with pytest.raises(ValueError, match="`voices` must be at least 1, got 0"):
        HarmonyExtractor.from_components(voices=0)
