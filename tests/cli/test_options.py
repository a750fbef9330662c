import pytest

from regen_hf.cli.generate import GenerationArguments
from regen_hf.cli.train import LoraArguments, RunArguments


def test_sections_are_mappings_or_json():
    assert RunArguments("out", prior='{"max_steps": 3}').prior == {"max_steps": 3}
    assert RunArguments("out", prior={"max_steps": 3}).prior == {"max_steps": 3}
    assert GenerationArguments("out").generation == {}
    with pytest.raises(ValueError, match="`prior` must be a mapping, as JSON, got 'steps'"):
        RunArguments("out", prior="steps")


def test_what_would_have_no_effect_is_refused():
    with pytest.raises(ValueError, match="`lora_rank` is 4, which has no effect without `lora`"):
        LoraArguments(lora_rank=4)
    with pytest.raises(ValueError, match="`decoder` has arguments, but `stages` does not name it: prior"):
        RunArguments("out", decoder={"max_steps": 1})
