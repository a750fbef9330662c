import pytest
import tiny
import torch
from transformers import (
    AutoModel,
    AutoModelForSeq2SeqLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2LMHeadModel,
    GPT2Model,
    LlamaForCausalLM,
)

from regen_hf.generators.autoregressive.language_model import (
    build_decoder,
    decoder_of,
    linear_head,
    load_language_model,
    sees_source,
)


def test_cross_attention_is_for_what_is_new_or_loaded(tmp_path):
    config = tiny.gpt2(add_cross_attention=False)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    for part in (config, str(tmp_path)):
        assert sees_source(load_language_model(part, has_source=True).decoder)
        assert not sees_source(load_language_model(part, has_source=False).decoder)
    assert config.add_cross_attention is False
    assert not sees_source(load_language_model(GPT2LMHeadModel(config), has_source=True).decoder)
    assert not sees_source(load_language_model(tiny.llama(), has_source=True).decoder)


def test_the_decoder_is_what_makes_hidden_states():
    gpt2, llama, t5 = GPT2LMHeadModel(tiny.gpt2()), LlamaForCausalLM(tiny.llama()), AutoModel.from_config(tiny.t5())
    assert decoder_of(gpt2) is gpt2.transformer and decoder_of(llama) is llama.model
    assert decoder_of(t5) is t5.decoder
    assert isinstance(build_decoder(tiny.gpt2()), GPT2Model)
    for config in (tiny.t5(), tiny.bart_both()):
        model = AutoModelForSeq2SeqLM.from_config(config)
        again = build_decoder(decoder_of(model).config)
        assert again.state_dict().keys() == decoder_of(model).state_dict().keys()


def test_the_ends_and_the_head_of_a_language_model():
    bart = load_language_model(tiny.bart_both(), has_source=True)
    assert (bart.start, bart.end) == (2, 2) and linear_head(bart.model).shape == (16, 16)
    assert type(bart.encoder).__name__ == "BartEncoder"
    llama = load_language_model(tiny.llama(), has_source=True)
    assert (llama.start, llama.end, llama.encoder) == (1, 2, None)


def test_t5_scales_its_head_where_it_is_tied():
    model = AutoModelForSeq2SeqLM.from_config(tiny.t5())
    torch.testing.assert_close(linear_head(model), model.lm_head.weight * 16**-0.5)


def test_a_head_that_is_no_linear_map_is_not_taken():
    config = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 8,
        "num_key_value_heads": 1, "vocab_size": 16,
    }  # fmt: skip
    capped = Gemma2ForCausalLM(Gemma2Config(**config, final_logit_softcapping=0.01))
    assert linear_head(capped) is None
    plain = Gemma2ForCausalLM(Gemma2Config(**config, final_logit_softcapping=None))
    torch.testing.assert_close(linear_head(plain), plain.lm_head.weight, rtol=1e-3, atol=1e-5)


def test_both_halves_of_a_frozen_encoder_decoder_are_frozen():
    model = AutoModelForSeq2SeqLM.from_config(tiny.t5()).requires_grad_(False)
    found = load_language_model(model, has_source=True)
    for half in (found.decoder, found.encoder):
        assert half.config.frozen and not any(p.requires_grad for p in half.parameters())


def test_refuses_what_is_no_language_model():
    with pytest.raises(ValueError, match="must be a language model of transformers, got a ViTConfig"):
        load_language_model(tiny.vit(), has_source=True)
    with pytest.raises(TypeError, match="`language_model`: a part must be a name"):
        load_language_model(3, has_source=True)
