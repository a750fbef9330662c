"""Pictures, whatever they come as, to RGB as they are to be seen."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .files import file_of, opened, reading

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's other formats are not read: EPS and WMF are given to programs, and the rest is hardly met."""
ORIENTATION = 0x0112  # of EXIF


def picture(name: str, example: Any):
    """A PIL image in RGB, upright, transparent ones laid on white.

    Args:
        name: what messages call it, unless it is in a file.
        example: a PIL image, a path, bytes, or `{"bytes": ..., "path": ...}` as datasets gives them undecoded, with
            the `"mode"` that datasets would convert it to.

    Raises:
        TypeError: for anything else.
        ValueError: for what is in none of `FORMATS` or broken, has more pixels than `PIL.Image.MAX_IMAGE_PIXELS`, or
            float pixels that are NaN, infinite, or not from 0 to 1.
    """
    from PIL import Image, UnidentifiedImageError

    name, file = file_of(name, example)
    if file is not None:
        mode = example.get("mode") if isinstance(example, Mapping) else None
        with opened(name, "image", file) as stream:
            try:
                image = Image.open(stream, formats=FORMATS)
            except UnidentifiedImageError as error:
                raise ValueError(f"it is none of {', '.join(FORMATS)}, or broken") from error
            return _rgb(image, mode)
    if not isinstance(example, Image.Image):
        raise TypeError(f"{name} must be a PIL image, a path or image bytes, got {type(example).__name__}.")
    with reading(name, "image"):
        return _rgb(example, None)


def _rgb(image, mode: str | None):
    from PIL import Image, ImageFile, ImageOps

    kind = image.format
    if isinstance(image, ImageFile.ImageFile) and kind not in (*FORMATS, "MPO"):  # which is JPEG with several images
        raise ValueError(f"it is {kind}, none of {', '.join(FORMATS)}")
    most, pixels = Image.MAX_IMAGE_PIXELS, image.width * image.height
    if not pixels:
        raise ValueError("it has no pixels")
    if most is not None and pixels > most:
        raise ValueError(f"it has {pixels:,} pixels, more than the {most:,} of PIL.Image.MAX_IMAGE_PIXELS")
    image.load()
    if image.getexif().get(ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if mode is not None and mode != image.mode:
        image = image.convert(mode)
    if image.mode.startswith(("I", "F")):
        image = _grey(image, kind)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _grey(image, kind: str | None):
    """Pixels of 16 bits, 32 bits or floats in 8 bits, which Pillow would clip instead."""
    from PIL import Image

    pixels, white = np.asarray(image).astype(np.float64), 65535
    if image.mode == "F":
        white = 1
        if not np.isfinite(pixels).all():
            raise ValueError("its pixels are not all finite")
    elif image.mode == "I" and kind != "PPM":  # whose 16 bits Pillow reads so
        white = 255
    if pixels.min() < 0 or pixels.max() > white:
        found = f"from {pixels.min():g} to {pixels.max():g}"
        raise ValueError(f"its pixels in mode {image.mode} must be from 0 to {white}, got {found}")
    return Image.fromarray((pixels * (255 / white)).round().astype(np.uint8))
