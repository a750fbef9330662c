import pytest

from regen_hf.generators.sources.conditional_generator import ConditionalGeneratorConfig


def test_what_describes_a_representation_needs_its_shape():
    with pytest.raises(ValueError, match="`source_num_codes` describes a source representation, which needs"):
        ConditionalGeneratorConfig(source_num_codes=5)
