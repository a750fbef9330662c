import pytest
import tiny
import torch
from generators.conformance import GeneratorConformance
from transformers import BertConfig

from regen_hf import RegressionGenerator, RepresentationSpec

BERT = BertConfig(
    vocab_size=16, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
    max_position_embeddings=64,
)  # fmt: skip
CLASSES = torch.tensor([[0], [1], [2], [4]])


def regression(shape=(3, 2, 4), **settings) -> RegressionGenerator:
    return RegressionGenerator.from_components(BERT, shape, **{"num_classes": 5, **settings})


class RegressionConformance(GeneratorConformance):
    def test_guidance_needs_a_null_source(self):
        """There is no guidance at all, since there is no distribution to sharpen."""
        with pytest.raises(TypeError, match="guidance"):
            self.generate(self.make().eval(), guidance=2.0)
        with pytest.raises(ValueError, match="`condition_dropout` must be 0, got 0.1"):
            self.make(condition_dropout=0.1)

    def test_default_arguments_come_from_the_config(self, generator):
        """There are none to have defaults."""
        with pytest.raises(ValueError, match=r"`generation` must be empty, got \['guidance'\]"):
            self.make(generation={"guidance": 3.0})


class TestGridFromText(RegressionConformance):
    def make(self, **settings):
        return RegressionGenerator.from_components(BERT, (3, 2, 4), tiny.bert(), **settings)

    def source(self):
        return dict(tiny.processor()(source=tiny.NAMES[:4]))


class TestVectorFromClasses(RegressionConformance):
    def make(self, **settings):
        return regression((7,), **settings)

    def source(self):
        return {"class_labels": CLASSES}


class TestSequenceFromCodes(RegressionConformance):
    def make(self, **settings):
        return regression((3, 6), num_classes=None, source_shape=[6], source_num_codes=9, **settings)

    def source(self):
        return {"source": torch.randint(9, (4, 6), generator=self._seeded(5))}


class TestSequenceFromSequence(RegressionConformance):
    def make(self, **settings):
        return regression((3, 6), num_classes=None, source_shape=[2, 6], representation_encoder=tiny.bert(), **settings)

    def source(self):
        return {"source": torch.randn(4, 2, 6, generator=self._seeded(5))}


def test_a_memorised_batch_is_made_again():
    torch.manual_seed(0)
    wider = BertConfig(**{**BERT.to_dict(), "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128})
    generator = RegressionGenerator.from_components(wider, (3, 2, 4), num_classes=5).eval()
    target = torch.randn(4, 3, 2, 4) * 5 + 3
    generator.fit_statistics([target])
    optimizer = torch.optim.Adam(generator.parameters(), 3e-3)
    for _ in range(300):
        generator(target=target, class_labels=CLASSES).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.testing.assert_close(generator.generate(class_labels=CLASSES).values, target, atol=1.0, rtol=0)


def test_loss_is_of_values_with_unit_variance():
    generator = regression((1, 2)).eval()
    generator.assign_statistics([10.0], [2.0])
    torch.nn.init.zeros_(generator.head.weight)
    output = generator(target=torch.tensor([[[12.0, 16.0]]]), class_labels=CLASSES[:1])
    assert {name: term.item() for name, term in output.terms.items()} == {"squared": 5.0, "absolute": 2.0}
    assert output.loss.item() == 7.0
    assert output.reconstruction.tolist() == [[[10.0, 10.0]]]
    assert output.reconstruction.requires_grad
    masked = generator(
        target=torch.tensor([[[12.0, 99.0]]]), target_mask=torch.tensor([[True, False]]), class_labels=CLASSES[:1]
    )
    assert masked.loss.item() == 2.0


def test_positions_stand_where_the_target_has_them():
    generator = regression((2, 2, 3)).eval()
    generator._read = lambda embeds, condition: torch.arange(6.0).view(1, 6, 1).expand(1, 6, 16)
    torch.nn.init.zeros_(generator.head.weight)
    with torch.no_grad():
        generator.head.weight[0, 0], generator.head.weight[1, 0] = 1.0, 10.0
    made = generator.generate(class_labels=CLASSES[:1]).values[0]
    assert made.tolist() == [[[0, 1, 2], [3, 4, 5]], [[0, 10, 20], [30, 40, 50]]]


def test_a_generator_makes_no_difference():
    generator = regression().eval()
    made = [
        generator.generate(class_labels=CLASSES, generator=each).values
        for each in (None, torch.Generator().manual_seed(1))
    ]
    assert torch.equal(*made)


def test_statistics_stay_in_float32(tmp_path):
    generator = regression()
    generator.assign_statistics([1.0, 2.0, 0.1], [3.0, 3.0, 3.0])
    generator.save_pretrained(tmp_path)
    reloaded = RegressionGenerator.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert reloaded.dtype == torch.bfloat16
    assert torch.equal(reloaded.statistics.mean, torch.tensor([1.0, 2.0, 0.1]))


def test_refuses_by_name():
    with pytest.raises(
        ValueError, match=r"makes continuous values, not codes \(vocabulary 12.*; MaskedGenerator makes"
    ):
        RegressionGenerator.for_spec(BERT, RepresentationSpec((4,), 12), None)
    with pytest.raises(ValueError, match=r"`target_shape` must be whole numbers, got \[3, None\]"):
        regression((3, None))
    with pytest.raises(ValueError, match="64 positions, but 64 of the target and 1 of the source"):
        regression((3, 8, 8))
