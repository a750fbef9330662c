import torch

from regen_hf.modalities.score_codes import begins, sounding


def test_a_note_sounds_until_the_next_or_a_rest():
    codes = torch.tensor([[2, 1, 1, 5, 0, 1], [1, 1, 7, 7, 1, 0]])
    assert sounding(codes).tolist() == [[2, 2, 2, 5, 0, 0], [0, 0, 7, 7, 7, 0]]
    assert begins(codes).int().tolist() == [[1, 0, 0, 1, 0, 0], [0, 0, 1, 1, 0, 0]]
