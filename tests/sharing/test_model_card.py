import numpy as np
import tiny
from huggingface_hub import ModelCard

from regen_hf import StageResult, summarize, write_model_card


def test_says_what_the_run_was(tmp_path):
    model = tiny.lowres_model()
    results = [StageResult("prior", [(10, 2.0), (20, 1.5)], [(20, 1.75)], 20, 3.4, 100, {})]
    summary = summarize(model, results, {"pairs": 1200, "unpaired": None})
    path = write_model_card(
        tmp_path, summary, {"psnr": 26.5}, title="Tiny", description="A test.", example="red heart",
        pipeline_tag="text-to-image", license="mit",
    )  # fmt: skip
    card = ModelCard.load(path)
    assert (card.data.library_name, card.data.pipeline_tag, card.data.license) == (
        "regen_hf", "text-to-image", "mit",
    )  # fmt: skip
    assert f"| prior | `DiffusionGenerator` | {model.prior.num_parameters():,} |" in card.text
    assert "| extractor | `DownsampleExtractor` | 0 |" in card.text
    for line in (
        "| prior | 20 | 3 | 1.5000 | 1.7500 |", "| psnr | 26.5 |", "continuous values (shape 3 × 4 × 4)",
        "Examples: 1,200 pairs, a stream of unpaired.",
    ):  # fmt: skip
        assert line in card.text
    plain = ModelCard.load(write_model_card(tmp_path, summary, example=np.str_("red heart")))
    assert plain.data.license is None  # unless it is given
    plain = plain.text
    assert "## Measured" not in plain and "pipe('red heart')" in plain
