import pytest
import tiny
import torch
from diffusers import (
    AutoencoderKL,
    UNet2DModel,
)
from generators.conformance import GeneratorConformance

from regen_hf import DiffusionGenerator

SHAPE = (4, 4, 4)
SCHEDULERS = ("DDPMScheduler", "DDIMScheduler", "DPMSolverMultistepScheduler", "EulerDiscreteScheduler")


class DiffusionConformance(GeneratorConformance):
    quick = {"num_inference_steps": 3, "generator": None}

    def source(self):
        return dict(tiny.processor()(source=tiny.NAMES[:4]))

    def generate(self, generator, rows=slice(None), /, **arguments):
        return super().generate(generator, rows, **{"generator": self._seeded(7), **arguments})


class TestSD3WithBert(DiffusionConformance):
    def make(self, **settings):
        return tiny.diffusion_prior(SHAPE, **settings)


class TestPixArtWithT5(DiffusionConformance):
    def make(self, **settings):
        return DiffusionGenerator.from_components(tiny.pixart(SHAPE), SHAPE, tiny.t5(), **settings)


class TestSanaWithClip(DiffusionConformance):
    def make(self, **settings):
        return DiffusionGenerator.from_components(tiny.sana(SHAPE), SHAPE, tiny.clip(), **settings)


class TestUNetWithClasses(DiffusionConformance):
    def make(self, **settings):
        return DiffusionGenerator.from_components(tiny.unet(SHAPE), SHAPE, num_classes=5, **settings)

    def source(self):
        return {"class_labels": torch.tensor([[0], [1], [2], [4]])}


class TestDiTWithItsOwnClasses(TestUNetWithClasses):
    def make(self, **settings):
        return DiffusionGenerator.from_components(tiny.dit(SHAPE), SHAPE, num_classes=5, **settings)

    def test_training_step_reaches_source_and_backbone(self, generator):
        generator(target=self.target(generator), **self.source()).loss.backward()
        assert next(generator.denoiser.parameters()).grad is not None


class TestUNetWithItsOwnClasses(TestUNetWithClasses):
    def make(self, **settings):
        net = UNet2DModel(
            sample_size=4, in_channels=4, out_channels=4, block_out_channels=(8, 8), layers_per_block=1,
            down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2, norm_num_groups=4,
            add_attention=False, num_class_embeds=6,
        )  # fmt: skip
        return DiffusionGenerator.from_components(net, SHAPE, num_classes=5, **settings)

    def test_training_step_reaches_source_and_backbone(self, generator):
        generator(target=self.target(generator), **self.source()).loss.backward()
        assert generator.denoiser.net.class_embedding.weight.grad.abs().sum() > 0


class TestDecoderOfALowResolutionImage(DiffusionConformance):
    def make(self, **settings):
        return DiffusionGenerator.from_components(
            tiny.unet(tiny.IMAGE, channels=6), tiny.IMAGE, source_shape=[3, 4, 4], **settings
        )

    def source(self):
        return {"source": torch.randn(4, 3, 4, 4, generator=self._seeded(5))}

    def target(self, generator):
        return torch.nn.functional.interpolate(self.source()["source"], scale_factor=4)


class TestASingleVector(DiffusionConformance):
    """`PriorTransformer`, as in unCLIP: text to the embedding of an image."""

    def make(self, **settings):
        return DiffusionGenerator.from_components(tiny.prior_transformer(), (16,), tiny.bert(), **settings)


class TestASequence(DiffusionConformance):
    steps = 150

    def make(self, **settings):
        return DiffusionGenerator.from_components(tiny.stable_audio(), (4, 8), tiny.bert(), **settings)


class TestSpaceAndTime(DiffusionConformance):
    steps = 150

    def make(self, **settings):
        return DiffusionGenerator.from_components(tiny.wan(), (4, 2, 4, 4), tiny.bert(), **settings)


class TestAGridFromAVector(DiffusionConformance):
    """As the decoder of unCLIP: a representation that cannot be stacked is read as a text is."""

    steps = 150

    def make(self, **settings):
        return DiffusionGenerator.from_components(tiny.sd3(SHAPE), SHAPE, source_shape=[16], **settings)

    def source(self):
        return {"source": torch.randn(4, 16, generator=self._seeded(5))}


class TestAGridFromCodesAndText(DiffusionConformance):
    steps = 150

    def make(self, **settings):
        described = {"source_shape": [2, 2], "source_num_codes": 7}
        return DiffusionGenerator.from_components(tiny.sd3(SHAPE), SHAPE, tiny.bert(), **described, **settings)

    def source(self):
        return {**super().source(), "source": torch.arange(16).view(4, 2, 2) % 7}


class TestDiffusionByNoise(DiffusionConformance):
    def make(self, **settings):
        return tiny.diffusion_prior(SHAPE, scheduler="DDPMScheduler", prediction="noise", **settings)


def test_statistics_are_fitted_undone_and_stored(tmp_path):
    generator = tiny.diffusion_prior(SHAPE)
    targets = torch.randn(64, *SHAPE) * 5 + 3
    generator.fit_statistics(iter(targets.split(16)))
    normal = generator.statistics.normalize(targets)
    torch.testing.assert_close(normal.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(normal.std((0, 2, 3), correction=0), torch.ones(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(generator.statistics.denormalize(normal), targets)
    generator.save_pretrained(tmp_path)
    reloaded = DiffusionGenerator.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert reloaded.dtype == torch.bfloat16
    assert torch.equal(reloaded.statistics.mean, generator.statistics.mean)  # still float32
    with pytest.raises(ValueError, match="NaN or infinite"):
        generator.fit_statistics([torch.full((1, *SHAPE), float("nan"))])


def test_guidance_goes_from_the_null_source_towards_the_source():
    generator = tiny.diffusion_prior(SHAPE).eval()
    noisy, timestep = torch.randn(2, *SHAPE), torch.tensor([300.0, 300.0])
    with torch.no_grad():
        condition = generator.source_encoder(**tiny.processor()(source=["red heart", "blue dog"]))
        shown = torch.zeros(2, dtype=torch.bool)
        towards, away = (
            generator._denoise(noisy, timestep, condition, None, None, hidden) for hidden in (shown, ~shown)
        )
        assert not torch.allclose(towards, away, atol=1e-3)
        for guidance in (1.0, 3.0):
            found = generator._guided(noisy, timestep, condition, None, None, guidance)
            torch.testing.assert_close(found, away + guidance * (towards - away), rtol=1e-4, atol=1e-5)


def test_source_noise_perturbs_training_only():
    source = torch.randn(2, 3, 4, 4)
    losses = []
    for noise in (0.0, 3.0):
        torch.manual_seed(0)
        decoder = tiny.diffusion_decoder(source_noise=noise)
        torch.manual_seed(1)
        losses.append(decoder(target=torch.zeros(2, *tiny.IMAGE), source=source).loss.item())
    assert losses[0] != losses[1]
    quick = {"source": source, "num_inference_steps": 2}
    noisy = [decoder.generate(**quick, generator=torch.Generator().manual_seed(0)).values for _ in range(2)]
    decoder.config.source_noise = 0.0
    plain = decoder.generate(**quick, generator=torch.Generator().manual_seed(0)).values
    assert torch.equal(noisy[0], noisy[1]) and torch.equal(noisy[0], plain)


def test_padding_does_not_count():
    generator = tiny.diffusion_prior(SHAPE).eval()
    source = dict(tiny.processor()(source=["red heart"]))
    target = torch.randn(1, *SHAPE)
    mask = torch.ones(1, 4, 4, dtype=torch.bool)
    mask[:, 2:] = False

    def loss(mask):
        torch.manual_seed(3)
        return generator(target=target, target_mask=mask, **source).loss.item()

    assert loss(torch.ones_like(mask)) == pytest.approx(loss(None))
    halves = loss(mask) + loss(~mask)
    assert halves == pytest.approx(2 * loss(None), rel=1e-4)


def test_refuses_settings_that_are_unknown():
    with pytest.raises(ValueError, match=r"`EulerDiscrete` is not a SchedulerMixin.*EulerDiscreteScheduler"):
        tiny.diffusion_prior(SHAPE, scheduler="EulerDiscrete")
    with pytest.raises(ValueError, match="`AutoencoderKL` is not a SchedulerMixin"):
        tiny.diffusion_prior(SHAPE, scheduler=AutoencoderKL.__name__)
    with pytest.raises(ValueError, match="`prediction` must be one of velocity, noise, sample, got 'eps'"):
        tiny.diffusion_prior(SHAPE, prediction="eps")
    with pytest.raises(ValueError, match="`timestep_sampling` must be one of .*, got 'cosine'"):
        tiny.diffusion_prior(SHAPE, timestep_sampling="cosine")
    with pytest.raises(ValueError, match="`condition_dropout` must be in"):
        tiny.diffusion_prior(SHAPE, condition_dropout=1.5)
    with pytest.raises(ValueError, match="`num_inference_steps` must be a whole number of at least 1, got 0"):
        tiny.diffusion_prior(SHAPE).generate(**tiny.processor()(source=["red heart"]), num_inference_steps=0)


def test_text_encoders_by_name(tmp_path):
    """The text half of CLIP under the name of the whole, frozen; and what is no encoder is refused."""
    from transformers import CLIPConfig, CLIPModel

    vision = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
              "image_size": 8, "patch_size": 4}  # fmt: skip
    clip = CLIPModel(CLIPConfig(text_config=tiny.clip().to_dict(), vision_config=vision, projection_dim=8))
    clip.save_pretrained(tmp_path / "clip")
    generator = DiffusionGenerator.from_components(tiny.sd3(SHAPE), SHAPE, str(tmp_path / "clip"))
    found = dict(generator.source_encoder.encoder.named_parameters())
    assert found and not any(p.requires_grad for p in found.values())
    assert not generator.train().source_encoder.encoder.training and generator.source_encoder.training
    expected = clip.text_model.state_dict()
    for name, value in found.items():
        assert torch.equal(value, expected[name.removeprefix("text_model.")]), name


def test_loads_backbone_and_text_encoder_by_folder(tmp_path):
    from transformers import BertModel

    tiny.sd3(SHAPE).save_pretrained(tmp_path / "backbone")
    encoder = BertModel(tiny.bert())
    encoder.save_pretrained(tmp_path / "encoder")
    generator = DiffusionGenerator.from_components(str(tmp_path / "backbone"), SHAPE, str(tmp_path / "encoder"))
    expected, found = encoder.embeddings.word_embeddings.weight, generator.source_encoder.encoder
    assert torch.equal(found.embeddings.word_embeddings.weight, expected)


def test_refuses_what_would_have_no_effect():
    with pytest.raises(ValueError, match="`source_noise` 0.5 needs a source that is stacked"):
        DiffusionGenerator.from_components(tiny.sd3(SHAPE), SHAPE, source_shape=[16], source_noise=0.5)
    with pytest.raises(ValueError, match=r"`target_shape` must be whole numbers, got \(4, None\)"):
        DiffusionGenerator.from_components(tiny.stable_audio(), (4, None))
    decoder, mask = tiny.diffusion_decoder(), torch.tensor([[True, True, True, False]])
    with pytest.raises(ValueError, match="`source_mask` has padding, but the source is stacked"):
        decoder.generate(source=torch.rand(1, 3, 4, 4), source_mask=mask, num_inference_steps=1)
