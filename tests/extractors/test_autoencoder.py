import pytest
import tiny
import torch
from extractors.conformance import ExtractorConformance
from tiny_autoencoders import oobleck, wan
from transformers import AutoModel, BertModel

from regen_hf import AutoencoderExtractor, Representation

pytestmark = pytest.mark.usefixtures("one_thread")


class AutoencoderConformance(ExtractorConformance):
    def target(self):
        return (torch.rand(4, 3, 1, 1) * 2 - 1).expand(4, *tiny.IMAGE)


class TestAutoencoderDC(AutoencoderConformance):
    def make(self):
        return tiny.autoencoder_extractor(tiny.dc())


class TestAutoencoderKL(AutoencoderConformance):
    def make(self):
        return tiny.autoencoder_extractor(tiny.kl())


class TestAutoencoderTiny(AutoencoderConformance):
    def make(self):
        return tiny.autoencoder_extractor(tiny.tiny_autoencoder())


class TestVQModelLatents(AutoencoderConformance):
    def make(self):
        return tiny.autoencoder_extractor(tiny.vq())


class TestVQModelCodes(AutoencoderConformance):
    def make(self):
        return tiny.autoencoder_extractor(tiny.vq(), "codes")


def test_loads_a_saved_autoencoder_by_folder(tmp_path):
    autoencoder = tiny.kl().eval()
    autoencoder.save_pretrained(tmp_path)
    extractor = AutoencoderExtractor.from_components(str(tmp_path), tiny.IMAGE).eval()
    target = torch.rand(1, *tiny.IMAGE)
    with torch.no_grad():
        expected = autoencoder.encode(target).latent_dist.mode()
        torch.testing.assert_close(extractor.encode(target).values, expected)


def test_refuses_what_it_cannot_take(tmp_path):
    with pytest.raises(ValueError, match="'codes', but AutoencoderDC does not quantise"):
        tiny.autoencoder_extractor(tiny.dc(), "codes")
    with pytest.raises(ValueError, match=r"in_channels 3, but target_shape is \(1, 16, 16\)"):
        AutoencoderExtractor.from_components(tiny.dc(), (1, 16, 16))
    with pytest.raises(ValueError, match=r"AutoencoderDC cannot take target_shape \(3, 18, 18\)"):
        AutoencoderExtractor.from_components(tiny.dc(), (3, 18, 18))
    with pytest.raises(ValueError, match=r"AutoencoderKL cannot take target_shape \(3, 17, 17\)"):
        AutoencoderExtractor.from_components(tiny.kl(), (3, 17, 17))
    extractor = tiny.autoencoder_extractor()
    with pytest.raises(ValueError, match=r"shape \(batch, 3, 16, 16\), got \(1, 3, 32, 32\)"):
        extractor.encode(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match="`kind` must be one of latents, codes, got 'pixels'"):
        tiny.autoencoder_extractor(kind="pixels")
    with pytest.raises(TypeError, match="`l2_weight` is no setting of AutoencoderExtractorConfig; did you mean"):
        tiny.autoencoder_extractor(l2_weight=1.0)
    BertModel(tiny.bert()).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is no diffusers model, but a BertModel"):
        AutoencoderExtractor.from_components(str(tmp_path), tiny.IMAGE)


@pytest.mark.parametrize(("setting", "term"), [("l1_weight", "absolute"), ("kl_weight", "divergence")])
def test_weights_of_the_loss_have_their_effect(setting, term):
    autoencoder, target = tiny.dc(), torch.rand(2, *tiny.IMAGE)
    one, two = (tiny.autoencoder_extractor(autoencoder, **{setting: w})(target).terms[term] for w in (0.1, 0.2))
    assert two.item() == pytest.approx(2 * one.item(), rel=1e-4)


def test_latent_noise_perturbs_training_only():
    extractor = tiny.autoencoder_extractor(latent_noise=0.5).eval()
    target = torch.rand(2, *tiny.IMAGE)
    with torch.no_grad():
        assert extractor(target).loss != extractor(target).loss
        assert torch.equal(extractor.encode(target).values, extractor.encode(target).values)


def test_audio_has_its_rate():
    config = AutoencoderExtractor.from_components(oobleck()).config
    assert (config.target_spec.rate, config.representation_spec.rate) == (800, 100)
    config = AutoencoderExtractor.from_components(oobleck(), (2, 64)).config
    assert (config.representation_spec.shape, config.representation_spec.rate) == ((4, 8), 100)


def test_audio_of_any_length_without_reading_the_padding():
    extractor = AutoencoderExtractor.from_components(oobleck()).eval()
    waves, mask = torch.rand(3, 2, 40), torch.arange(40) < torch.tensor([40, 13, 24])[:, None]
    with torch.no_grad():
        found = extractor.encode(waves.masked_fill(~mask[:, None], 9.0), mask)
        back = extractor.decode(found)
        for row, length in enumerate([40, 13, 24]):
            single = extractor.encode(waves[row : row + 1, :, :length])
            torch.testing.assert_close(found.values[row][:, found.mask[row]], single.values[0], rtol=1e-4, atol=1e-5)
            wave = extractor.decode(single).values[0]
            torch.testing.assert_close(back.values[row][:, back.mask[row]], wave, rtol=1e-4, atol=1e-5)
    assert found.mask.sum(-1).tolist() == [5, 2, 3]
    assert back.mask.sum(-1).tolist() == [40, 16, 24]
    loss = extractor(waves, mask).loss
    assert extractor(torch.where(mask[:, None], waves, 0.0), mask).reconstruction.shape == waves.shape
    loss.backward()
    assert extractor.autoencoder.net.encoder.conv1.weight_v.grad.abs().sum() > 0


@pytest.mark.parametrize("frames", [6, 8])
def test_says_which_frames_do_not_fit(frames):
    with pytest.raises(ValueError, match=rf"AutoencoderKLWan cannot take target_shape \(3, {frames}, 16, 16\)"):
        AutoencoderExtractor.from_components(wan(), (3, frames, 16, 16))


def test_hosts_what_encodes_and_decodes():
    for described in ({"_class_name": "AutoencoderKLWan"}, {"class_name": "VQModel"}):
        assert AutoencoderExtractor.hosts(described)
    for described in ({"_class_name": "UNet2DModel"}, {"model_type": "bert"}, {"_class_name": "NoSuchClass"}):
        assert not AutoencoderExtractor.hosts(described)


def test_a_frozen_autoencoder_stays_frozen(tmp_path):
    tiny.autoencoder_extractor(tiny.kl().requires_grad_(False)).save_pretrained(tmp_path)
    assert not AutoModel.from_pretrained(tmp_path).is_trainable


@pytest.mark.parametrize("kind", ["latents", "codes"])
def test_clips_frame_by_frame_are_as_their_frames(kind):
    torch.manual_seed(0)
    autoencoder = tiny.vq()
    pictures = AutoencoderExtractor.from_components(autoencoder, tiny.IMAGE, kind=kind).eval()
    clips = AutoencoderExtractor.from_components(autoencoder, (3, 5, *tiny.IMAGE[1:]), kind=kind, frame_by_frame=True)
    clip, spec = torch.rand(2, 3, 5, *tiny.IMAGE[1:]), clips.eval().config.representation_spec
    with torch.no_grad():
        values, single = clips.encode(clip).values, pictures.encode(clip[1, :, 3][None]).values[0]
        own = values[1, 3] if kind == "codes" else values[1, :, 3]
        back, alone = clips.decode(Representation(values)).values, pictures.decode(Representation(single[None])).values
        assert clips(clip).reconstruction.shape == clip.shape
    assert tuple(values.shape[1:]) == spec.shape and (spec.num_codes is None) == (kind == "latents")
    torch.testing.assert_close(own, single, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(back[1, :, 3], alone[0], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="`frame_by_frame` needs a target_shape .*, got \\(3, 16, 16\\)"):
        AutoencoderExtractor.from_components(autoencoder, tiny.IMAGE, frame_by_frame=True)


def test_some_frames_of_each_clip_are_learned_from():
    torch.manual_seed(0)
    shape = (3, 5, *tiny.IMAGE[1:])
    clips = AutoencoderExtractor.from_components(tiny.vq(), shape, frame_by_frame=True, learned_frames=2)
    clip = torch.rand(4, *shape)
    learned = clips.train()(clip)
    frames = learned.reconstruction_target.movedim(2, 1)
    assert frames.shape == (4, 2, 3, *tiny.IMAGE[1:]) and learned.reconstruction.movedim(2, 1).shape == frames.shape
    found = [
        [next(i for i in range(5) if torch.equal(own, clip[row, :, i])) for own in frames[row]] for row in range(4)
    ]
    assert all(len(set(row)) == 2 for row in found) and len({tuple(row) for row in found}) > 1  # of its own, not twice
    squared = (learned.reconstruction - learned.reconstruction_target).square().mean()
    torch.testing.assert_close(learned.terms["squared"], squared)
    whole = clips.eval()(clip)
    assert whole.reconstruction.shape == clip.shape and whole.reconstruction_target is None
    for wrong, why in (
        ({"learned_frames": 6}, "must be from 1 to the 5 frames"),
        ({"learned_frames": 0}, "must be from"),
    ):
        with pytest.raises(ValueError, match=f"`learned_frames` {why}"):
            AutoencoderExtractor.from_components(tiny.vq(), shape, frame_by_frame=True, **wrong)
    with pytest.raises(ValueError, match="`learned_frames` 2 needs `frame_by_frame`"):
        AutoencoderExtractor.from_components(tiny.vq(), tiny.IMAGE, learned_frames=2)
