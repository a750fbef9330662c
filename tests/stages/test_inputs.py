import pytest
import tiny
import torch
from datasets import Dataset, Features, Image
from pairs import pairs
from PIL import Image as PILImage
from runs import arguments, run


def test_statistics_are_those_of_the_training_representations(tmp_path):
    model, _ = run(tmp_path)
    with torch.no_grad():
        target = tiny.processor()(target=pairs()["image"])["target"]
        latents = model.extractor.encode(target).values
    torch.testing.assert_close(model.prior.statistics.mean, latents.mean((0, 2, 3)), rtol=1e-3, atol=1e-4)
    expected = latents.std((0, 2, 3), correction=0)
    torch.testing.assert_close(model.prior.statistics.std, expected, rtol=1e-3, atol=1e-4)


def test_unpaired_targets_are_learned_from(tmp_path):
    seen = []
    model = tiny.latent_model()
    model.extractor.register_forward_pre_hook(lambda *given: seen.append(given[2]["target"]), with_kwargs=True)
    white = [PILImage.new("RGB", (16, 16), "white")] * 24
    unpaired = Dataset.from_dict({"image": white}, features=Features({"image": Image()}))
    run(tmp_path, model=model, unpaired=unpaired, extractor=arguments(6), prior=None)
    whites = (torch.cat(seen) == 1).flatten(1).all(1)
    assert whites.sum() == 24 and len(whites) == 48


def test_a_stream_is_trained_on_as_its_dataset(tmp_path):
    """Its examples are kept beside their Y′, so that the prior and the decoder read them in any order."""
    torch.manual_seed(0)
    model = tiny.MODELS["lowres"]()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    whole, _ = run(tmp_path / "whole", "lowres", model=model)
    streamed = tiny.MODELS["lowres"]()
    streamed.load_state_dict(state)
    _, results = run(tmp_path / "stream", "lowres", model=streamed, dataset=pairs().to_iterable_dataset(num_shards=3))
    assert [result.name for result in results] == ["prior", "decoder"]
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(streamed.state_dict()[name], value, msg=name)
    _, (result,) = run(
        tmp_path / "codec", dataset=pairs().to_iterable_dataset(), unpaired=pairs(), prior=None,
    )  # fmt: skip
    assert result.name == "extractor"
    with pytest.raises(ValueError, match="`validation` must be a datasets.Dataset"):
        run(tmp_path / "other", validation=pairs().to_iterable_dataset())


def test_unpaired_targets_and_predictions_go_to_the_decoder(tmp_path):
    seen = []
    model = tiny.lowres_model()
    model.config.generation = {"num_inference_steps": 2}
    model.decoder_model.register_forward_pre_hook(lambda *given: seen.append(given[2]["source"]), with_kwargs=True)
    white = [PILImage.new("RGB", (16, 16), "white")] * 24
    unpaired = Dataset.from_dict({"image": white}, features=Features({"image": Image()}))
    decoder = arguments(40, predicted=1.0)
    run(tmp_path, "lowres", model=model, unpaired=unpaired, decoder=decoder)
    rows = torch.cat(seen).flatten(1)
    flat = (rows.view(len(rows), 3, -1).std(-1) < 1e-5).all(1)  # every picture here has one colour
    assert (rows[flat] == 1).all(1).sum() > 100  # unpaired ones have no prediction
    first, last = flat[:80].float().mean(), flat[-80:].float().mean()
    assert first > 0.9 and last < 0.7  # pairs are half of all
    assert [path.name for path in (tmp_path / "representations").glob("predicted-*")]
    with pytest.raises(ValueError, match="`predicted` is for the stage decoder, but prior has 0.5"):
        run(tmp_path / "other", prior=arguments(predicted=0.5))
