# Lets transformers load this model with `trust_remote_code=True` where regen_hf is not imported.
# The code itself is in the package: `pip install regen_hf`.

from regen_hf import RegenerationConfig, RegenerationModel, RegenerationProcessor  # noqa: F401
