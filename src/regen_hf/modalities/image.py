"""Images as Y."""

from collections.abc import Iterable, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import torch

from ..parts.settings import shown
from .base import Modality, whole_number, with_ending
from .readers.pictures import picture

MOST_PIXELS_A_SIDE = 2**14
"""3 GiB as a tensor; no model makes or reads more."""


class ImageModality(Modality):
    """RGB images of one size, through diffusers' `VaeImageProcessor`.

    Args:
        size: height and width in pixels; other images are resized.
        mean, std: the mean and standard deviation of each channel by which a source image in [0, 1] is normalised for
            its encoder.
    """

    key = "image"

    def __init__(self, size: int, mean: Sequence[float] = (0.5, 0.5, 0.5), std: Sequence[float] = (0.5, 0.5, 0.5)):
        from diffusers.image_processor import VaeImageProcessor

        self.size = whole_number("size", size, MOST_PIXELS_A_SIDE)
        self.mean, self.std = _three("mean", mean, 0), _three("std", std, 1e-6)
        self._processor = VaeImageProcessor(vae_scale_factor=1, resample="lanczos")

    def as_source(self, examples: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Images as `pixel_values`, `(batch, 3, size, size)`, `torch.float32`, normalised by `mean` and `std`."""
        pixels = (self.as_target(examples)["target"] + 1) / 2
        mean, std = (torch.tensor(each).view(3, 1, 1) for each in (self.mean, self.std))
        return {"pixel_values": (pixels - mean) / std}

    def as_target(self, examples: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Images as `target`, `(batch, 3, size, size)`, `torch.float32` in [-1, 1].

        Args:
            examples: what [`picture`](readers/pictures.py) reads: PIL images, paths, bytes, or `{"bytes": ..., "path":
                ...}` as datasets gives them undecoded. Transparent images are laid on white.

        Raises:
            TypeError: for anything else.
            ValueError: for what is no readable image, or a larger one than `PIL.Image.MAX_IMAGE_PIXELS`.
        """
        images = [picture(f"target {i}", example) for i, example in enumerate(examples)]
        return {"target": self._processor.preprocess(images, height=self.size, width=self.size)}

    def from_target(self, values: torch.Tensor, mask: torch.Tensor | None = None) -> list[dict[str, Any]]:
        """`(batch, 3, height, width)` in [-1, 1] as `{"image": PIL.Image}`; values beyond are clipped."""
        return [{"image": image} for image in self._processor.postprocess(values.float(), output_type="pil")]

    def save_samples(self, samples: Sequence[dict[str, Any]], captions: Sequence[str], path: Path) -> Path:
        """A sheet of the images with their captions below, as `path` + `.png`."""
        path = with_ending(path, ".png")
        save_sheet([[sample["image"]] for sample in samples], captions, path)
        return path

    def to_dict(self) -> dict[str, Any]:
        return {"size": self.size, "mean": self.mean, "std": self.std}


def _three(name: str, values: Any, least: float) -> list[float]:
    values = list(values) if isinstance(values, Iterable) and not isinstance(values, str) else values
    if not isinstance(values, list) or len(values) != 3 or not all(_is_number(each) for each in values):
        raise ValueError(f"`{name}` must be three numbers of at most a million, got {shown(values)}.")
    if least and min(values) < least:
        raise ValueError(f"`{name}` must be above 0, got {values}.")
    return values


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and abs(value) <= 1e6


def save_sheet(rows: Sequence[Sequence[Any]], captions: Sequence[str], path: Path, columns: int = 8) -> None:
    """Writes a sheet of cells, each one or more PIL images beside each other over one caption, as a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_sheet(rows, captions, columns).save(path)


def draw_sheet(rows: Sequence[Sequence[Any]], captions: Sequence[str], columns: int = 8):
    """Such a sheet, as a PIL image."""
    import textwrap

    from PIL import Image, ImageDraw, ImageFont

    side, gap, text_height = 96, 8, 44
    width = max(len(images) for images in rows) * side
    cell_width, cell_height = width + gap, side + text_height
    columns = min(columns, len(rows))
    sheet = Image.new("RGB", (columns * cell_width + gap, -(-len(rows) // columns) * cell_height + gap), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    for i, (images, caption) in enumerate(zip(rows, captions, strict=True)):
        x, y = gap + i % columns * cell_width, gap + i // columns * cell_height
        for j, image in enumerate(images):
            sheet.paste(image.resize((side, side), Image.Resampling.NEAREST), (x + j * side, y))
        lines = textwrap.wrap(str(caption), width // 6, max_lines=3, placeholder=" ...")
        draw.text((x, y + side + 1), "\n".join(lines), fill="black", font=font, spacing=1)
    return sheet
