"""Images as Y."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from .base import Modality


class ImageModality(Modality):
    """RGB images of one size, through diffusers' `VaeImageProcessor`.

    Args:
        size: height and width in pixels; other images are resized.
    """

    key = "image"

    def __init__(self, size: int):
        from diffusers.image_processor import VaeImageProcessor

        if not isinstance(size, int) or size < 1:
            raise ValueError(f"`size` must be a number of pixels of at least 1, got {size!r}.")
        self.size = size
        self._processor = VaeImageProcessor(vae_scale_factor=1, resample="lanczos")

    def as_target(self, examples: Sequence[Any]) -> dict[str, torch.Tensor]:
        """PIL images as `target`, `(batch, 3, size, size)`, `torch.float32` in [-1, 1].

        Transparent images are laid on white.

        Raises:
            TypeError: for anything but a PIL image.
        """
        images = [self._on_white(i, image) for i, image in enumerate(examples)]
        return {"target": self._processor.preprocess(images, height=self.size, width=self.size)}

    @staticmethod
    def _on_white(position: int, image):
        from PIL import Image

        if not isinstance(image, Image.Image):
            raise TypeError(f"target {position} must be a PIL image, got {type(image).__name__}.")
        if image.mode == "RGB":
            return image
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")

    def from_target(self, values: torch.Tensor, mask: torch.Tensor | None = None) -> list[dict[str, Any]]:
        """`(batch, 3, height, width)` in [-1, 1] as `{"image": PIL.Image}`; values beyond are clipped."""
        return [{"image": image} for image in self._processor.postprocess(values.float(), output_type="pil")]

    def save_samples(self, samples: Sequence[dict[str, Any]], captions: Sequence[str], path: Path) -> None:
        """A sheet of the images with their captions below, as one PNG."""
        save_sheet([[sample["image"]] for sample in samples], captions, Path(path))

    def to_dict(self) -> dict[str, Any]:
        return {"size": self.size}


def save_sheet(rows: Sequence[Sequence[Any]], captions: Sequence[str], path: Path, columns: int = 8) -> None:
    """Writes a sheet of cells, each one or more PIL images beside each other over one caption, as a PNG."""
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
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
