import pytest
import tiny
import torch
from tiny_autoencoders import VIDEO, cogvideox, oobleck, rae, vidtok, wan

from regen_hf import AutoencoderExtractor

pytestmark = pytest.mark.usefixtures("one_thread")


def test_codes_decode_as_the_autoencoder_itself_would():
    extractor = tiny.autoencoder_extractor(tiny.vq(), "codes").eval()
    net = extractor.autoencoder.net
    target = torch.rand(2, *tiny.IMAGE)
    with torch.no_grad():
        expected = net.decode(net.encode(target).latents).sample
        found = extractor.decode(extractor.encode(target)).values
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_divergence_is_that_of_the_posterior():
    extractor = tiny.autoencoder_extractor(tiny.kl(), kl_weight=1.0).eval()
    target = torch.rand(3, *tiny.IMAGE)
    with torch.no_grad():
        posterior = extractor.autoencoder.net.encode(target).latent_dist
        expected = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).mean()
        assert extractor(target).terms["divergence"].item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize(
    ("autoencoder", "shape", "found", "num_codes"),
    [
        (rae(), None, (64, 2, 2), None),
        (oobleck(), None, (4, None), None),
        (wan(), VIDEO, (4, 5, 4, 4), None),
        (cogvideox(), VIDEO, (4, 3, 2, 2), None),
        (vidtok("kl"), VIDEO, (2, 3, 2, 2), None),
        (vidtok("fsq"), VIDEO, (3, 2, 2), 64),
    ],
)
def test_says_what_representation_it_makes(autoencoder, shape, found, num_codes):
    spec = AutoencoderExtractor.from_components(autoencoder, shape).config.representation_spec
    assert (spec.shape, spec.num_codes) == (found, num_codes)


@pytest.mark.parametrize("regularizer", ["fsq", "kl"])
def test_video_as_vidtok_itself_would(regularizer):
    """Which repeats the first frame before it encodes, and drops it again."""
    extractor = AutoencoderExtractor.from_components(vidtok(regularizer), VIDEO).eval()
    target = torch.rand(2, *VIDEO)
    with torch.no_grad():
        expected = extractor.autoencoder.net(target, sample_posterior=False).sample
        torch.testing.assert_close(extractor.decode(extractor.encode(target)).values, expected, rtol=1e-4, atol=1e-5)


def test_codes_may_be_taken_as_latents():
    net, target = vidtok("fsq"), torch.rand(2, *VIDEO)
    latents, codes = (AutoencoderExtractor.from_components(net, VIDEO, kind).eval() for kind in ("latents", "codes"))
    with torch.no_grad():
        values = latents.encode(target).values
        assert values.shape == (2, 2, 3, 2, 2) and values.is_floating_point()
        torch.testing.assert_close(net.indices_to_latent(codes.encode(target).values), values)


def test_normalization_is_that_of_the_autoencoder():
    def found(net, kind=None, shape=tiny.IMAGE):
        return AutoencoderExtractor.from_components(net, shape, kind).config.normalization

    kl = tiny.kl()
    kl.register_to_config(scaling_factor=0.5, shift_factor=0.1)
    assert found(kl) == ([0.1] * 4, [2.0] * 4)
    assert found(cogvideox(), shape=VIDEO) == ([0.0] * 4, [2.0] * 4)
    assert found(wan(), shape=VIDEO) == ([0.5, 0.0, 0.0, -1.0], [2.0, 1.0, 1.0, 3.0])
    assert found(tiny.tiny_autoencoder()) is None
    assert found(tiny.vq(), "codes") is None
    assert found(vidtok("fsq"), shape=VIDEO) is None
    ones = torch.ones(64, 1, 1)
    assert found(rae(latents_mean=ones, latents_std=ones)) is None  # which `encode` applies


def test_normalization_makes_the_latents_that_a_pipeline_would():
    extractor = AutoencoderExtractor.from_components(wan(), VIDEO).eval()
    net, target = extractor.autoencoder.net, torch.rand(1, *VIDEO)
    mean, std = (torch.tensor(each).view(-1, 1, 1, 1) for each in extractor.config.normalization)
    with torch.no_grad():
        values = extractor.encode(target).values
        expected = net.encode(target).latent_dist.mode()
    config_mean, config_std = (
        torch.tensor(net.config[name]).view(-1, 1, 1, 1) for name in ("latents_mean", "latents_std")
    )
    torch.testing.assert_close((values - mean) / std, (expected - config_mean) / config_std)


def test_says_which_shape_is_missing():
    with pytest.raises(ValueError, match="`target_shape` is missing, and the config of AutoencoderDC says none"):
        AutoencoderExtractor.from_components(tiny.dc())
    with pytest.raises(ValueError, match="only audio may last for any time"):
        AutoencoderExtractor.from_components(tiny.kl(), (3, 16, None))
