import json

import pytest
import tiny
from transformers import AutoConfig

from regen_hf import RegenerationConfig


def test_survives_json_with_all_its_parts(tmp_path):
    config = tiny.lowres_model().config
    config.save_pretrained(tmp_path)
    reloaded = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(reloaded, RegenerationConfig)
    for part in ("extractor_config", "prior_config", "decoder_config"):
        assert type(getattr(reloaded, part)) is type(getattr(config, part))
    assert reloaded.extractor_config.representation_spec == config.extractor_config.representation_spec
    one, two = (c.prior_config.denoiser_config.module_config for c in (reloaded, config))
    assert one == json.loads(json.dumps(two))
    assert reloaded.target_spec.shape == tiny.IMAGE and reloaded.source_spec is None


def test_saves_the_way_to_the_library_at_the_top_only(tmp_path):
    tiny.latent_model().config.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["auto_map"] == {
        "AutoConfig": "regeneration_remote_code.RegenerationConfig",
        "AutoModel": "regeneration_remote_code.RegenerationModel",
        "AutoProcessor": "regeneration_remote_code.RegenerationProcessor",
    }
    assert "auto_map" not in json.dumps([saved["extractor_config"], saved["prior_config"]])
    code = (tmp_path / "regeneration_remote_code.py").read_text()
    assert [line for line in code.splitlines() if line and not line.startswith("#")] == [
        "from regen_hf import RegenerationConfig, RegenerationModel, RegenerationProcessor  # noqa: F401"
    ]


def test_no_field_has_a_name_that_transformers_looks_up():
    taken = {"decoder", "generator", "text_encoder", "text_config", "backbone_config"}
    for model in (tiny.lowres_model(), tiny.code_model()):
        for config in (model.config, model.config.prior_config, model.config.extractor_config):
            assert not taken & set(vars(config))
            assert config.model_type.startswith("regen_")
        assert "decoder" not in dict(model.named_children())


@pytest.mark.parametrize("key", ["extractor_config", "prior_config", "decoder_config"])
@pytest.mark.parametrize("wrong", ["../x", [1], 3, {"model_type": "llama"}])
def test_a_part_is_described_as_what_it_is(key, wrong, tmp_path):
    described = {**tiny.direct_model().config.to_dict(), key: wrong}
    (tmp_path / "config.json").write_text(json.dumps(described))
    with pytest.raises(TypeError, match=f"`{key}` must be "):
        AutoConfig.from_pretrained(tmp_path)
