import pytest
import tiny
import torch
from transformers import BartModel, T5Model

from regen_hf.generators.sources.source_encoders import load_source_encoder, load_source_encoders


def test_encoders_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="`source_encoder` has two encoders that read input_ids"):
        load_source_encoders([tiny.bert(), tiny.bert()])
    with pytest.raises(TypeError, match="`source_encoder`: a part must be a name, a HubReference, a config"):
        load_source_encoders([7])


def test_the_encoder_of_an_encoder_decoder_by_folder(tmp_path):
    model = BartModel(tiny.bart_both())
    model.save_pretrained(tmp_path)
    encoder = load_source_encoder(str(tmp_path))
    assert torch.equal(encoder.layers[0].fc1.weight, model.encoder.layers[0].fc1.weight)
    assert not any(p.requires_grad for p in encoder.parameters())


def test_a_live_model_of_more_than_an_encoder_is_refused():
    for model, wanted in ((BartModel(tiny.bart_both()), "BartEncoder"), (T5Model(tiny.t5()), "T5EncoderModel")):
        with pytest.raises(ValueError, match=f"an encoder alone, a {wanted} here, got a {type(model).__name__}"):
            load_source_encoders(model)
