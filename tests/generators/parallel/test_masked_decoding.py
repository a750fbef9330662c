import torch

from regen_hf.generators.parallel.masked_decoding import fill, split_steps

SETTINGS = {"mask": 5, "schedule": "linear", "temperature": 1.0, "choice_temperature": 0.0}


def test_the_first_codebook_gets_twice_the_steps_of_another():
    assert split_steps(50, 4) == [20, 10, 10, 10]
    assert split_steps(12, 1) == [12]
    assert split_steps(4, 4) == [1, 1, 1, 1]


def test_the_most_confident_codes_are_kept_first_and_those_that_are_there_stay(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *size, **_: torch.full(size, 0.5))  # the likeliest code is drawn
    codes, seen = torch.tensor([[[5, 5, 5, 5, 3]]]), []
    sure = torch.tensor([0.6, 0.9, 0.7, 0.99, 0.8])
    chances = ((1 - sure) / 4)[:, None].repeat(1, 5)
    chances[torch.arange(5), torch.arange(5)] = sure

    def predict():
        seen.append(codes[0, 0].tolist())
        return chances[None].log()

    fill(codes, predict, 4, real=None, generators=None, **SETTINGS)
    assert seen == [[5, 5, 5, 5, 3], [5, 5, 5, 3, 3], [5, 1, 5, 3, 3], [5, 1, 2, 3, 3]]
    assert codes[0, 0].tolist() == [0, 1, 2, 3, 3]


def test_a_row_is_made_alike_however_long_its_padding_is():
    logits = torch.randn(1, 4, 5, generator=torch.Generator().manual_seed(0))
    found = []
    for length in (4, 6):
        real = torch.arange(length)[None] < 4
        codes = torch.full((1, 1, length), 5).masked_fill(~real[:, None], 0)
        padded = torch.nn.functional.pad(logits, (0, 0, 0, length - 4))
        generators = [torch.Generator().manual_seed(1)]
        fill(codes, lambda padded=padded: padded, 3, real=real, generators=generators, **SETTINGS)
        found.append(codes[0, 0, :4].tolist())
    assert found[0] == found[1] and 5 not in found[0]
