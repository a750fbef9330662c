import pytest
import torch

from regen_hf import LossOutput, RegenerationOutput, Representation, RepresentationSpec


@pytest.mark.parametrize(("one", "other", "fits"), [
    (((4, 8, 8), None), ((4, 8, 8), None), True),
    (((4, 8, 8), None), ((4, None, None), None), True),
    (((None, 8), None), ((4, None), None), True),
    (((4, 8, 8), None), ((4, 8, 9), None), False),
    (((4, 8), None), ((4, 8, 8), None), False),
    (((8, 8), 16), ((8, 8), None), False),
    (((8, 8), 16), ((8, 8), 17), False),
    (((8, 8), 16), ((8, 8), 16), True),
])  # fmt: skip
def test_specs_fit_where_every_known_size_agrees(one, other, fits):
    one, other = RepresentationSpec(*one), RepresentationSpec(*other)
    assert one.fits(other) is fits
    assert other.fits(one) is fits


def test_specs_read_as_sentences():
    assert str(RepresentationSpec((4, 8, 8))) == "continuous values (shape 4 × 8 × 8)"
    assert str(RepresentationSpec((None,), 63)) == "codes (vocabulary 63, any length)"
    assert str(RepresentationSpec((), 5)) == "codes (vocabulary 5, one value)"
    assert str(RepresentationSpec([3, 4])) == "continuous values (shape 3 × 4)"  # as a config.json has it
    books = RepresentationSpec((4, None), 2048, 4, rate=50.0)
    assert str(books) == "codes (vocabulary 2048, 4 codebooks, shape 4 × any length) at 50 a second"
    assert str(RepresentationSpec((8, 8), 16)) == "codes (vocabulary 16, shape 8 × 8)"


def test_outputs_are_read_by_name_and_by_key():
    values = torch.zeros(1, 2)
    output = RegenerationOutput(values=values, representation=Representation(values))
    assert output["values"] is output.values is values
    assert output.mask is None
    assert isinstance(output, Representation)


def test_a_loss_of_named_terms_is_their_sum():
    terms = {"one": torch.tensor(1.0, requires_grad=True), "two": torch.tensor(2.0)}
    output = LossOutput.of(terms, reconstruction=torch.zeros(1))
    assert output.loss.item() == 3 and output.loss.requires_grad and output.reconstruction.shape == (1,)
    assert list(output.terms) == ["one", "two"] and not output.terms["one"].requires_grad
