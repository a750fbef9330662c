"""Sentences and clips: emoji that move, drawn on the spot, or any text-video dataset."""

import math
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

Motion = Callable[[float], tuple[float, float, float, float]]
"""From the time, 0 to 1, to where the middle of a thing is, 0 to 1 from the left and from the top, how large it is, 1
as it is drawn, and how far it has turned, in degrees."""


def _bounce(time: float) -> float:
    """How high, 1 to 0, what falls is, hits the ground at a half and comes up again by a third."""
    return 1 - (2 * time) ** 2 if time < 0.5 else (1 - (4 * time - 3) ** 2) / 3


MOTIONS: dict[str, Motion] = {
    "moves right": lambda t: (0.25 + 0.5 * t, 0.5, 1, 0),
    "moves left": lambda t: (0.75 - 0.5 * t, 0.5, 1, 0),
    "rises": lambda t: (0.5, 0.75 - 0.5 * t, 1, 0),
    "falls": lambda t: (0.5, 0.25 + 0.5 * t, 1, 0),
    "falls and bounces": lambda t: (0.5, 0.75 - 0.5 * _bounce(t), 1, 0),
    "jumps": lambda t: (0.5, 0.75 - 0.5 * math.sin(math.pi * t), 1, 0),
    "jumps to the right": lambda t: (0.25 + 0.5 * t, 0.75 - 0.5 * math.sin(math.pi * t), 1, 0),
    "swings": lambda t: (0.5 + 0.25 * math.sin(2 * math.pi * t), 0.5, 1, 0),
    "circles": lambda t: (0.5 - 0.25 * math.cos(2 * math.pi * t), 0.5 - 0.25 * math.sin(2 * math.pi * t), 1, 0),
    "grows": lambda t: (0.5, 0.5, 0.5 + t, 0),
    "shrinks": lambda t: (0.5, 0.5, 1.5 - t, 0),
    "turns": lambda t: (0.5, 0.5, 1, 360 * t),
}


def clips(pictures, size: int, num_frames: int, things: int):
    """Each of some pictures in each motion, as a sentence and a clip.

    Args:
        pictures: with the columns `text` and `image`, large enough to be made smaller.
        things: how many of them, chosen by their names.

    Returns:
        A `datasets.Dataset` with the columns `text` and `video`, of arrays `(num_frames, size, size, 3)`, `uint8`.
    """
    import numpy as np
    from datasets import Array4D, Dataset, Features, Value

    features = Features({"text": Value("string"), "video": Array4D((num_frames, size, size, 3), "uint8")})
    names = pictures["text"]
    chosen = sorted(range(len(names)), key=lambda i: zlib.crc32(names[i].encode()))[:things]
    # the key of the cache knows the arguments, and not what this file makes of them
    made_by = zlib.crc32(Path(__file__).read_bytes())
    given = {"pictures": pictures.select(chosen), "size": size, "num_frames": num_frames, "made_by": made_by}
    return Dataset.from_generator(_drawn, features=features, gen_kwargs=given).with_format("numpy", dtype=np.uint8)


def _drawn(pictures, size: int, num_frames: int, made_by: int = 0) -> Iterator[dict]:
    import numpy as np

    for row in pictures:
        for name, motion in MOTIONS.items():
            frames = [frame(row["image"], size, *motion(i / (num_frames - 1))) for i in range(num_frames)]
            yield {"text": f"{row['text']} {name}", "video": np.stack([np.asarray(each) for each in frames])}


def frame(picture: Image.Image, size: int, x: float, y: float, scale: float, degrees: float) -> Image.Image:
    """A picture of half the frame's size on white, its middle at `x` and `y`, turned and of another size."""
    own = max(1, round(size / 2 * scale))
    small = picture.convert("RGB").rotate(degrees, fillcolor="white", resample=Image.Resampling.BICUBIC)
    small = small.resize((own, own), Image.Resampling.LANCZOS)
    found = Image.new("RGB", (size, size), "white")
    found.paste(small, (round(x * size - own / 2), round(y * size - own / 2)))
    return found
