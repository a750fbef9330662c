import pytest
import tiny
import torch
from transformers import (
    BertForMaskedLM,
    BertModel,
    GPT2Config,
    ModernBertConfig,
    RobertaConfig,
    T5EncoderModel,
)

from regen_hf import MaskedGenerator, RegressionGenerator, RepresentationSpec
from regen_hf.generators.parallel.parallel import load_backbone
from regen_hf.parts.auto import load_generator
from regen_hf.parts.pretrained import embedding_width, position_limit

SMALL = {"vocab_size": 16, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
BERT = tiny.bert()


def modern() -> ModernBertConfig:
    return ModernBertConfig(**SMALL, num_hidden_layers=1, pad_token_id=0, bos_token_id=1, eos_token_id=2)


def roberta() -> RobertaConfig:
    return RobertaConfig(**SMALL, num_hidden_layers=1, max_position_embeddings=10, pad_token_id=1)


def test_positions_that_a_backbone_has_room_for():
    assert position_limit(load_backbone(BERT)) == 8
    assert position_limit(load_backbone(roberta())) == 8  # two of ten are for padding
    assert position_limit(load_backbone(modern())) is None
    assert embedding_width(load_backbone(modern())) == 16


def test_refuses_more_positions_than_there_are():
    with pytest.raises(ValueError, match="BertModel has 8 positions, but 8 of the target and 1 of the source need 9"):
        MaskedGenerator.from_components(BERT, (2, 4), 12, num_classes=3)
    generator = RegressionGenerator.from_components(BERT, (3, 7), tiny.bert())
    with pytest.raises(ValueError, match="BertModel has 8 positions, but 7 of the target and 3 of the source need 10"):
        generator.generate(**tiny.processor()(source=["red cat dancing"]))


def test_refuses_what_is_no_encoder():
    with pytest.raises(ValueError, match="`backbone` GPT2Model reads from left to right"):
        load_backbone(GPT2Config(vocab_size=16, n_embd=16, n_layer=1, n_head=2))
    with pytest.raises(ValueError, match="`backbone` T5Model does not read `inputs_embeds` as an encoder does"):
        load_backbone(tiny.t5())
    with pytest.raises(ValueError, match="`backbone` must be what AutoModel gives, T5EncoderModel is not"):
        load_backbone(T5EncoderModel(tiny.t5()))
    with pytest.raises(TypeError, match="`backbone`: a part must be a name"):
        load_backbone(3)


def test_loads_a_backbone_by_folder_and_leaves_its_head(tmp_path):
    model = BertForMaskedLM(BERT)
    model.save_pretrained(tmp_path)
    expected = model.bert.embeddings.position_embeddings.weight
    generator = MaskedGenerator.from_components(str(tmp_path), (4,), 12, num_classes=3)
    assert torch.equal(generator.backbone.embeddings.position_embeddings.weight, expected)
    assert next(generator.backbone.parameters()).requires_grad
    assert isinstance(load_backbone(model), BertModel)


@pytest.mark.parametrize("config", [BERT, roberta(), modern()], ids=lambda config: type(config).__name__)
def test_padding_of_source_and_target_is_not_read(config):
    generator = RegressionGenerator.from_components(config, (3, 3), num_classes=2).eval()
    condition = generator.source_encoder(class_labels=torch.tensor([[1]]))
    padded = condition.map(lambda tensor: torch.cat([tensor, torch.zeros_like(tensor)], dim=1))
    embeds = torch.randn(1, 3, 16)
    with torch.no_grad():
        expected = generator._read(embeds, condition)
        torch.testing.assert_close(generator._read(embeds, padded), expected)
        mask = torch.tensor([[True, True, False]])
        one, two = (generator._read(embeds * torch.tensor([1, 1, k]).view(3, 1), condition, mask) for k in (1, 5))
    torch.testing.assert_close(one[:, :2], two[:, :2])
    assert expected.shape == (1, 3, 16)


def test_auto_finds_the_generator_by_what_the_target_is():
    codes, values = RepresentationSpec((4,), 12), RepresentationSpec((3, 4), rate=50.0)
    source = RepresentationSpec((2, 3))
    assert isinstance(load_generator(BertModel(BERT), codes, num_classes=2), MaskedGenerator)
    made = load_generator(BertModel(BERT), values, source, slot="decoder")
    assert isinstance(made, RegressionGenerator)
    assert made.config.target_spec == values and made.config.source_spec == source
    encoder_decoder = {"model_type": "bart", "is_encoder_decoder": True}
    assert not MaskedGenerator.hosts(encoder_decoder, codes) and not RegressionGenerator.hosts(encoder_decoder, values)
    assert not MaskedGenerator.hosts({"_class_name": "UNet2DModel"}, codes)
