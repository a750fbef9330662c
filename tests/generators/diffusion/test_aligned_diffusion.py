import pytest
import torch
from diffusers import LongCatAudioDiTTransformer
from generators.conformance import GeneratorConformance
from transformers import AutoModel, BertConfig

from regen_hf import AlignedDiffusionGenerator

pytestmark = pytest.mark.usefixtures("one_thread")

IDS = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0], [3, 1, 5, 0], [2, 4, 6, 1]])
MASK = (IDS > 0).long()
LABELS = torch.tensor([[0], [1], [2], [1]])


def text() -> BertConfig:
    return BertConfig(
        vocab_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip


def denoiser(channels: int = 4, **settings) -> LongCatAudioDiTTransformer:
    sizes = {"dit_dim": 16, "dit_depth": 1, "dit_heads": 2, "dit_text_dim": 16, "latent_dim": channels}
    return LongCatAudioDiTTransformer(**sizes, cross_attn=False, text_conv=False, long_skip=False, **settings)


def made(**settings) -> AlignedDiffusionGenerator:
    torch.manual_seed(0)
    return AlignedDiffusionGenerator.from_components(denoiser(), (4, None), text(), num_classes=3, **settings)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class TestAlignedDiffusion(GeneratorConformance):
    quick = {"num_inference_steps": 2}
    steps = 80

    def make(self, **settings):
        return made(**settings)

    def source(self):
        return {"input_ids": IDS, "attention_mask": MASK, "class_labels": LABELS}

    def target(self, generator):
        return torch.randn(4, 4, 9)

    def test_gives_what_its_config_says(self, generator):
        output = generator.generate(**self.source(), **self.quick)
        assert output.values.shape[:2] == (4, 4)
        assert torch.isfinite(output.values).all()
        assert (output.mask.sum(1) >= MASK.sum(1)).all()
        assert not output.values[1, :, int(output.mask[1].sum()) :].any()

    def test_batched_equals_single(self, generator):
        torch.nn.init.constant_(generator.log_durations[-1].bias, 1.2)  # several frames each
        torch.nn.init.normal_(generator.log_durations[-1].weight, std=0.5)
        torch.nn.init.normal_(generator.denoiser.net.proj_out.weight, std=0.5)  # which begins at zero
        shared, source = seeded(), self.source()
        batch = generator.generate(**source, generator=seeded(), **self.quick)
        lengths = batch.mask.sum(1).tolist()
        assert len(set(lengths)) > 1
        for row in range(4):
            own = {name: value[row : row + 1] for name, value in source.items()}
            alone = generator.generate(**own, generator=shared, **self.quick)
            assert alone.values.shape[2] == lengths[row]
            torch.testing.assert_close(
                batch.values[row : row + 1, :, : lengths[row]], alone.values, rtol=1e-3, atol=1e-4
            )


def train(generator, target, mask, steps: int, **source):
    generator.fit_statistics([target])
    optimizer = torch.optim.Adam(generator.train().parameters(), 1e-2)
    for _ in range(steps):
        output = generator(target=target, target_mask=mask, **source)
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    generator.eval()
    return output


def test_finds_which_frames_belong_to_which_place_and_how_many():
    """Each token has a spectrum of its own and lasts as many frames as its number; nothing says where it begins."""
    torch.manual_seed(0)
    spectra, ids = torch.randn(5, 4) * 2, torch.randint(1, 5, (24, 4))
    ids[::3, 3] = 0
    rows = [spectra[row[row > 0]].repeat_interleave(row[row > 0], dim=0) for row in ids]
    target = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).transpose(1, 2)
    mask = torch.arange(target.shape[2]) < torch.tensor([len(row) for row in rows])[:, None]
    tokens = text()
    tokens.num_hidden_layers = 0
    generator = AlignedDiffusionGenerator.from_components(denoiser(), (4, None), tokens, condition_dropout=0.0)
    source = {"input_ids": ids, "attention_mask": (ids > 0).long()}
    output = train(generator, target, mask, 200, **source)
    assert output.terms["means"] < 0.05
    assert torch.equal(generator.durations(**source), ids)
    made = generator.generate(**source, num_inference_steps=8, generator=seeded())
    assert torch.equal(made.mask, mask)
    error, spread = (made.values - target).abs().mean(1)[mask].mean(), target.abs().mean(1)[mask].mean()
    assert error < 0.4 * spread, (error, spread)


def test_further_sources_change_what_is_made():
    generator = made().eval()
    torch.nn.init.normal_(generator.denoiser.net.proj_out.weight, std=0.5)
    torch.nn.init.normal_(generator.source_encoder.class_embedding.weight)
    source = {"input_ids": IDS[:1], "attention_mask": MASK[:1]}
    one, other = (
        generator.generate(**source, class_labels=torch.tensor([[n]]), generator=seeded(), num_inference_steps=2).values
        for n in (0, 1)
    )
    assert not torch.allclose(one, other, atol=1e-3)


def test_arguments_of_generate_have_an_effect():
    generator = made(generation={"num_inference_steps": 2}).eval()
    torch.nn.init.normal_(generator.denoiser.net.proj_out.weight, std=0.5)
    source = {"input_ids": IDS, "attention_mask": MASK, "class_labels": LABELS}
    plain = generator.generate(**source, generator=seeded()).values
    assert torch.equal(plain, generator.generate(**source, generator=seeded()).values)
    for changed in ({"guidance": 2.0}, {"num_inference_steps": 5}, {"temperature": 0.5}):
        assert not torch.allclose(plain, generator.generate(**source, generator=seeded(), **changed).values, atol=1e-3)
    cold = [generator.generate(**source, generator=seeded(n), temperature=0.0).values for n in (0, 1)]
    assert torch.equal(*cold)


@pytest.mark.parametrize(("given", "message"), [
    ({"num_inference_steps": 0}, "`num_inference_steps` must be a whole number of at least 1, got 0"),
    ({"temperature": -1.0}, "`temperature` must be a finite number of at least 0, got -1.0"),
])  # fmt: skip
def test_refuses_wrong_arguments(given, message):
    with pytest.raises(ValueError, match=message):
        made().eval().generate(input_ids=IDS, attention_mask=MASK, class_labels=LABELS, **given)


def test_refuses_what_is_too_long():
    generator = made(max_places=3).eval()
    with pytest.raises(ValueError, match="source 0 would last 4 frames, more than the 3 of `max_places`"):
        generator.generate(input_ids=IDS, attention_mask=MASK, class_labels=LABELS)
    with pytest.raises(ValueError, match="`target` has 9 frames, more than `max_places` 3"):
        generator(target=torch.zeros(4, 4, 9), input_ids=IDS, attention_mask=MASK, class_labels=LABELS)


def test_refuses_backbones_and_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"latent_dim 5, but target_shape \(4, None\)"):
        AlignedDiffusionGenerator.from_components(denoiser(5), (4, None), text())
    with pytest.raises(ValueError, match=r"`target_shape` must be \(channels, None\), got \(4, 8\)"):
        AlignedDiffusionGenerator.from_components(denoiser(), (4, 8), text())
    with pytest.raises(ValueError, match="`generation` must hold guidance, .* got .'speed'"):
        made(generation={"speed": 2})
    import tiny

    with pytest.raises(ValueError, match="takes no attention_mask, encoder_attention_mask, .*latent_cond"):
        AlignedDiffusionGenerator.from_components(tiny.sd3((4, 4, 4)), (4, None), text())


def test_padding_does_not_count():
    generator = made(condition_dropout=0.0)
    torch.manual_seed(0)
    target, mask = torch.randn(4, 4, 9), torch.arange(9) < torch.tensor([9, 5, 6, 8])[:, None]
    source = {"input_ids": IDS, "attention_mask": MASK, "class_labels": LABELS}

    def loss(of: torch.Tensor) -> dict:
        torch.manual_seed(1)
        return {name: term.item() for name, term in generator(target=of, target_mask=mask, **source).terms.items()}

    assert loss(target) == pytest.approx(loss(target.masked_fill(~mask[:, None], 7.0)), rel=1e-4)


def test_is_saved_with_its_statistics(tmp_path):
    generator = made()
    generator.fit_statistics([3 + 2 * torch.randn(8, 4, 50)])
    generator.save_pretrained(tmp_path)
    reloaded = AutoModel.from_pretrained(tmp_path)
    assert torch.equal(reloaded.statistics.mean, generator.statistics.mean)
    assert reloaded.statistics.mean.mean() == pytest.approx(3, abs=0.3)


def test_a_row_with_fewer_frames_than_places_is_left_out_and_said_once():
    generator = made(condition_dropout=0.0)
    source = {"input_ids": IDS, "attention_mask": MASK, "class_labels": LABELS}
    target, mask = torch.randn(4, 4, 9), torch.arange(9) < torch.tensor([3, 5, 6, 8])[:, None]

    def terms(rows) -> dict[str, float]:
        own = {name: value[rows] for name, value in source.items()}
        found = generator(target=target[rows], target_mask=mask[rows], **own).terms
        return {name: found[name].item() for name in ("means", "durations")}  # the others are of noise

    with pytest.warns(UserWarning, match="row 0 of a batch is left out of the loss: its source has 4 places, but its"):
        found = terms(slice(None))
    assert found == pytest.approx(terms(slice(1, None)), rel=1e-4)
    with pytest.raises(ValueError, match="`target` has 3 frames at most, fewer than any source has places"):
        terms(slice(0, 1))


def test_reads_a_source_that_is_padded_at_the_beginning():
    generator, last = made().eval(), torch.tensor([[0, 0, 5, 6]])
    torch.nn.init.normal_(generator.log_durations[-1].weight)
    positions = generator.source_encoder.encoder.embeddings.position_embeddings.weight
    torch.nn.init.zeros_(positions)  # else it is read otherwise at other places
    other = {"class_labels": torch.tensor([[1]])}
    first = generator.durations(input_ids=torch.tensor([[5, 6]]), attention_mask=torch.ones(1, 2).long(), **other)
    assert torch.equal(first, generator.durations(input_ids=last, attention_mask=(last > 0).long(), **other))


def test_refuses_a_backbone_that_would_not_read_the_means():
    with pytest.raises(ValueError, match="LongCatAudioDiTTransformer must have use_latent_condition True"):
        AlignedDiffusionGenerator.from_components(denoiser(use_latent_condition=False), (4, None), text())
