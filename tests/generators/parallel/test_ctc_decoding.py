import math

import numpy as np
import pytest
import torch
from generators.parallel.alignments import by_all_alignments

from regen_hf.generators.parallel.ctc_decoding import prefix_beam_search


@pytest.mark.parametrize("seed", range(4))
def test_the_beam_search_finds_the_likeliest_of_all_outputs(seed):
    torch.manual_seed(seed)
    log_probs = torch.randn(3, 3).log_softmax(-1)
    expected = sorted(by_all_alignments(log_probs).items(), key=lambda each: -each[1])
    found = prefix_beam_search(log_probs.numpy(), 100)
    assert [tuple(codes) for codes, _ in found] == [codes for codes, _ in expected]
    np.testing.assert_allclose([score for _, score in found], [math.log(chance) for _, chance in expected], rtol=1e-5)


def test_improbable_codes_are_not_tried():
    log_probs = np.log(np.array([[0.99, 0.0009, 0.0091], [0.989, 0.0019, 0.0091]]))
    assert sorted(codes for codes, _ in prefix_beam_search(log_probs, 100)) == [[], [0], [0, 1], [1]]
