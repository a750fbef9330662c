"""What the files are called that samples are written to."""

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from regen_hf import AudioModality, ImageModality, ScoreModality, VideoModality

PICTURE = Image.new("RGB", (4, 4))
SCORE = ScoreModality(voices=1)
KINDS = {
    "image": (ImageModality(4), {"image": PICTURE}, [".png"]),
    "audio": (AudioModality(8000), {"audio": np.zeros(8, np.float32)}, [".wav", ".wav.txt"]),
    "text": (tiny.text(), {"text": "red heart"}, [".txt"]),
    "video": (VideoModality(4, 2, fps=4), {"video": [PICTURE, PICTURE]}, [".gif"]),
    "score": (SCORE, None, [".png", ".png.0.mid", ".png.0.musicxml"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_names_that_differ_after_a_dot_are_two_files(kind, tmp_path):
    modality, sample, endings = KINDS[kind]
    sample = sample or SCORE.from_target(torch.full((1, 1, 4), 60 - SCORE.lowest + 2))[0]
    own = {"score": ".png", "audio": ".wav"}.get(kind, endings[0])
    for name in ("guidance2.0", "guidance2.5", f"named{own}", ".hidden"):
        path = modality.save_samples([sample], ["a"], tmp_path / name)
        assert path == tmp_path / f"{name.removesuffix(own)}{own}"
    names = ("guidance2.0", "guidance2.5", "named", ".hidden")
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}{ending}" for name in names for ending in endings}
