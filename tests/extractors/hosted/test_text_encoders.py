import pytest
import tiny
import torch
from transformers import AutoModel, BertConfig, BertForMaskedLM, BertModel, FNetConfig, T5Config

from regen_hf import HubReference, TokenAutoencoderExtractor

pytestmark = pytest.mark.usefixtures("one_thread")


def bert() -> BertConfig:
    return BertConfig(vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)


@pytest.mark.parametrize("part, message", [
    (tiny.gpt2(), "`encoder` must see all of a text and none of its padding, as BERT does; GPT2Model does not"),
    (FNetConfig(vocab_size=20, hidden_size=16, num_hidden_layers=1, intermediate_size=16), "FNetModel does not"),
    (T5Config(vocab_size=20, d_model=16, num_layers=1), "`encoder` T5Model does not read `inputs_embeds`"),
    (tiny.vit(), "`encoder` ViTModel does not read `inputs_embeds`"),
    (BertForMaskedLM(bert()), "`encoder` must be what AutoModel gives, BertForMaskedLM is not"),
    (HubReference("google-bert/bert-base-uncased"), "`encoder` gets embeddings of its own"),
], ids=lambda value: type(value).__name__)  # fmt: skip
def test_what_is_no_encoder_is_refused(part, message):
    with pytest.raises(ValueError, match=message):
        TokenAutoencoderExtractor.from_components(part, 20)
    with pytest.raises(ValueError, match="`decoder`"):
        TokenAutoencoderExtractor.from_components(bert(), 20, decoder=part)


def test_a_pretrained_encoder_keeps_what_it_knows_of_tokens(tmp_path):
    encoder = BertModel(bert())
    encoder.save_pretrained(tmp_path)
    tokens = encoder.get_input_embeddings().weight
    same, other = (TokenAutoencoderExtractor.from_components(str(tmp_path), size) for size in (20, 19))
    assert torch.equal(same.embedding.weight[:20], tokens) and same.embedding.weight.shape == (22, 16)
    assert not torch.equal(other.embedding.weight[:19], tokens[:19])
    weights = [model.encoder.layer[0].output.dense.weight for model in (encoder, same.encoder, same.decoder)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_a_frozen_encoder_stays_frozen_and_the_decoder_learns(tmp_path):
    TokenAutoencoderExtractor.from_components(BertModel(bert()).requires_grad_(False), 20).save_pretrained(tmp_path)
    reloaded = AutoModel.from_pretrained(tmp_path)
    assert not any(parameter.requires_grad for parameter in reloaded.encoder.parameters())
    assert all(parameter.requires_grad for parameter in reloaded.decoder.parameters())
