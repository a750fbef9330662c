import json

import pytest
import tiny
import torch
from datasets import Dataset, Features, Image
from PIL import Image as PILImage

from regen_hf import ImageModality, RepresentationCache, extract
from regen_hf.extractors.autoencoder import AutoencoderExtractor


def dataset(count=10, red=0):
    images = [PILImage.new("RGB", (16, 16), (red, 20 * i, 0)) for i in range(count)]
    return Dataset.from_dict({"image": images}, features=Features({"image": Image()}))


def extracted(folder, extractor, data=None, size=16, batch_size=4):
    modality = ImageModality(size)
    return extract(extractor, modality, data if data is not None else dataset(), "image", folder, batch_size)


@pytest.mark.parametrize("make", [
    tiny.autoencoder_extractor, lambda: tiny.autoencoder_extractor(tiny.vq(), "codes"), tiny.downsample, tiny.identity,
])  # fmt: skip
def test_holds_what_the_extractor_gives(make, tmp_path):
    extractor, data = make().eval(), dataset()
    cache = extracted(tmp_path, extractor, data)
    with torch.no_grad():
        expected = extractor.encode(ImageModality(16).as_target(data["image"])["target"]).values
    assert len(cache) == 10
    assert cache[[3, 0]].dtype == expected.dtype
    torch.testing.assert_close(cache[[3, 0, 9]], expected[[3, 0, 9]], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.cat(list(cache.batches(4))), expected, rtol=1e-4, atol=1e-5)


def test_is_read_again_where_nothing_changed(tmp_path, monkeypatch):
    extractor = tiny.autoencoder_extractor().eval()
    first, data = extracted(tmp_path, extractor), dataset()
    monkeypatch.setattr(AutoencoderExtractor, "encode", lambda *_: pytest.fail("encoded twice"))
    assert extracted(tmp_path, extractor, data).folder == extracted(tmp_path, extractor, data).folder == first.folder


def test_any_change_makes_another(tmp_path):
    extractor = tiny.autoencoder_extractor().eval()
    first = extracted(tmp_path, extractor)
    other_data = extracted(tmp_path, extractor, dataset(red=9))
    extractor.config.latent_noise = 0.5
    other_config = extracted(tmp_path, extractor)
    with torch.no_grad():
        next(extractor.parameters()).add_(1e-3)
    other_weights = extracted(tmp_path, extractor)
    rule = tiny.downsample()
    rules = [extracted(tmp_path, rule), extracted(tmp_path, tiny.identity())]
    assert len({c.folder for c in (first, other_data, other_config, other_weights, *rules)}) == 6
    parts = [json.loads((c.folder / "representations.json").read_text())["fingerprint"] for c in (first, other_data)]
    assert {name for name in parts[0] if parts[0][name] != parts[1][name]} == {"data"}


def test_an_interrupted_extraction_leaves_nothing(tmp_path):
    extractor = tiny.autoencoder_extractor().eval()
    encode, calls = extractor.encode, []

    def stops(target, mask):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return encode(target, mask)

    extractor.encode = stops
    with pytest.raises(KeyboardInterrupt):
        extracted(tmp_path, extractor)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError, match="holds no finished cache"):
        RepresentationCache(tmp_path)


def test_large_codes_are_kept_whole(tmp_path):
    from regen_hf.representations import _Writer

    codes = torch.tensor([[40000, 3], [2**31 - 1, 0]])
    with _Writer(tmp_path / "codes.arrow", 2, "int32") as writer:
        writer.write(codes)
    read = Dataset.from_file(str(tmp_path / "codes.arrow")).with_format("torch")
    assert torch.equal(read[:]["representation"].long(), codes)
