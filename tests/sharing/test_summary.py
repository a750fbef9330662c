import json

import tiny
from PIL import Image

from regen_hf import StageResult, plot_losses, summarize

RESULT = StageResult("prior", [(10, 2.0), (20, 1.5)], [(20, 1.7)], 20, 3.4, 100, {"max_steps": 20})


def test_says_what_a_run_was():
    model = tiny.lowres_model()
    summary = summarize(model, [RESULT], {"pairs": 24, "unpaired": None})
    assert json.loads(json.dumps(summary))["stages"][0]["losses"] == [[10, 2.0], [20, 1.5]]
    assert summary["examples"] == {"pairs": 24, "unpaired": None}
    assert summary["parts"]["extractor"] == {"class": "DownsampleExtractor", "parameters": 0}
    assert summary["parts"]["decoder"]["parameters"] == model.decoder_model.num_parameters()
    assert summary["representation"] == "continuous values (shape 3 × 4 × 4)"
    assert set(summary["versions"]) == {"torch", "transformers", "diffusers", "accelerate"}


def test_plots_losses(tmp_path):
    plot_losses([RESULT], tmp_path / "one.png")
    plot_losses([RESULT] * 3, tmp_path / "three.png")
    assert Image.open(tmp_path / "three.png").size[0] == 3 * Image.open(tmp_path / "one.png").size[0]
