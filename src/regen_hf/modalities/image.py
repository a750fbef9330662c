"""Images as Y."""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from .base import Modality, leave_undecoded, with_ending


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

        if not isinstance(size, int) or size < 1:
            raise ValueError(f"`size` must be a number of pixels of at least 1, got {size!r}.")
        self.size, self.mean, self.std = size, list(mean), list(std)
        self._processor = VaeImageProcessor(vae_scale_factor=1, resample="lanczos")

    def as_source(self, examples: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Images as `pixel_values`, `(batch, 3, size, size)`, `torch.float32`, normalised by `mean` and `std`."""
        pixels = (self.as_target(examples)["target"] + 1) / 2
        mean, std = (torch.tensor(each).view(3, 1, 1) for each in (self.mean, self.std))
        return {"pixel_values": (pixels - mean) / std}

    def as_target(self, examples: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Images as `target`, `(batch, 3, size, size)`, `torch.float32` in [-1, 1].

        Args:
            examples: PIL images, paths, or `{"bytes": ..., "path": ...}` as datasets gives them undecoded. Transparent
                images are laid on white.

        Raises:
            TypeError: for anything else.
            ValueError: for a file or for bytes that are no readable image.
        """
        images = [_opened(i, example) for i, example in enumerate(examples)]
        return {"target": self._processor.preprocess(images, height=self.size, width=self.size)}

    def from_target(self, values: torch.Tensor, mask: torch.Tensor | None = None) -> list[dict[str, Any]]:
        """`(batch, 3, height, width)` in [-1, 1] as `{"image": PIL.Image}`; values beyond are clipped."""
        return [{"image": image} for image in self._processor.postprocess(values.float(), output_type="pil")]

    def save_samples(self, samples: Sequence[dict[str, Any]], captions: Sequence[str], path: Path) -> Path:
        """A sheet of the images with their captions below, as `path` + `.png`."""
        path = with_ending(path, ".png")
        save_sheet([[sample["image"]] for sample in samples], captions, path)
        return path

    def prepare_column(self, dataset, column: str):
        """Leaves images undecoded until they are needed, so that one that is broken can be named."""
        from datasets import Image

        return leave_undecoded(dataset, column, Image)

    def to_dict(self) -> dict[str, Any]:
        return {"size": self.size, "mean": self.mean, "std": self.std}


def _opened(position: int, example: Any):
    """A PIL image in RGB, whatever it came as."""
    from PIL import Image, UnidentifiedImageError

    name = f"target {position}"
    try:
        if isinstance(example, dict) and (example.get("bytes") or example.get("path")):
            name = example.get("path") or name
            image = Image.open(io.BytesIO(example["bytes"]) if example.get("bytes") else example["path"])
        elif isinstance(example, str | os.PathLike):
            name = example
            image = Image.open(example)
        elif isinstance(example, Image.Image):
            image = example
        else:
            raise TypeError(f"{name} must be a PIL image, a path or image bytes, got {type(example).__name__}.")
        if image.mode == "RGB":
            image.load()
            return image
        image = image.convert("RGBA")
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{name} is no readable image: {error}") from error
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


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
