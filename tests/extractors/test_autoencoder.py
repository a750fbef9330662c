import pytest
import tiny
import torch
from extractors.conformance import ExtractorConformance
from transformers import BertModel

from regen_hf import AutoencoderExtractor


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


def test_codes_decode_as_the_autoencoder_itself_would():
    extractor = tiny.autoencoder_extractor(tiny.vq(), "codes").eval()
    net = extractor.autoencoder.net
    target = torch.rand(2, *tiny.IMAGE)
    with torch.no_grad():
        expected = net.decode(net.encode(target).latents).sample
        found = extractor.decode(extractor.encode(target)).values
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


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


def test_latent_noise_disturbs_training_only():
    extractor = tiny.autoencoder_extractor(latent_noise=0.5).eval()
    target = torch.rand(2, *tiny.IMAGE)
    with torch.no_grad():
        assert extractor(target).loss != extractor(target).loss
        assert torch.equal(extractor.encode(target).values, extractor.encode(target).values)


def test_divergence_is_that_of_the_posterior():
    extractor = tiny.autoencoder_extractor(tiny.kl(), kl_weight=1.0).eval()
    target = torch.rand(3, *tiny.IMAGE)
    with torch.no_grad():
        posterior = extractor.autoencoder.net.encode(target).latent_dist
        expected = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).mean()
        assert extractor(target).terms["divergence"].item() == pytest.approx(expected.item(), rel=1e-4)
