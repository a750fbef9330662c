import pytest
import tiny

from regen_hf import AutoregressiveGeneratorConfig, RepresentationSpec


def test_refuses_what_does_not_fit_together():
    with pytest.raises(ValueError, match="`order` must be one of interleave, delay, got 'random'"):
        tiny.code_prior((3, 4), order="random")
    with pytest.raises(ValueError, match="'delay', which needs `num_codebooks` of at least 2"):
        tiny.code_prior((3, 4), order="delay")
    with pytest.raises(ValueError, match="`max_places` belongs to a target_shape whose last size is None"):
        tiny.code_prior((3, 4), max_places=5)
    with pytest.raises(ValueError, match="`shares_vocabulary` needs one codebook, got num_codebooks 2"):
        tiny.code_prior((2, 4), num_codebooks=2, shares_vocabulary=True)


def test_says_what_is_written_with_which_vocabulary():
    plain = AutoregressiveGeneratorConfig(target_shape=[3, 4], num_codes=12)
    assert (plain.places, plain.first_code, plain.vocabulary_size, plain.vocab_size) == (12, 0, 13, 14)
    books = AutoregressiveGeneratorConfig(
        target_shape=[2, None], num_codes=5, num_codebooks=2, max_places=7, target_rate=50.0, prefix_vocabulary_size=20
    )
    assert books.target_spec == RepresentationSpec((2, None), 5, 2, 50.0)
    assert (books.places, books.first_code, books.vocabulary_size, books.varies) == (7, 20, 31, True)
    shared = AutoregressiveGeneratorConfig(
        target_shape=[4], num_codes=5, prefix_vocabulary_size=5, shares_vocabulary=True
    )
    assert (shared.first_code, shared.vocabulary_size) == (0, 6)
