"""Pictures, whatever they come as, to RGB as they are to be seen."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .opening import file_of, opened, reading

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's other formats are not read: EPS and WMF are given to programs, and the rest is hardly met."""
ORIENTATION = 0x0112  # of EXIF


def picture(name: str, example: Any):
    """As [`as_stored`], in RGB of 8 bits, transparent ones laid on white.

    Raises:
        ValueError: for floats that are NaN, infinite or not from 0 to 1, and for 32 bits that are not from 0 to 255.
    """
    from PIL import Image

    found, kind = as_stored(name, example)
    with reading(file_of(name, example)[0], "image"):
        if found.mode.startswith(("I", "F")):
            found = _grey(found, kind)
        if found.mode == "RGB" and "transparency" not in found.info:
            return found
        if not found.has_transparency_data:
            return found.convert("RGB")
        found = found.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", found.size, "white"), found).convert("RGB")


def as_stored(name: str, example: Any):
    """A PIL image with the pixels that datasets would give, upright and loaded, and the format that it was in.

    Args:
        name: what messages call it, unless it is in a file.
        example: a PIL image, a path, bytes, or `{"bytes": ..., "path": ...}` as datasets gives them undecoded, with
            the `"mode"` that datasets would convert it to.

    Raises:
        TypeError: for anything else.
        ValueError: for what is in none of `FORMATS` or broken, or has more pixels than `PIL.Image.MAX_IMAGE_PIXELS`.
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
            return _upright(image, mode), image.format
    if not isinstance(example, Image.Image):
        raise TypeError(f"{name} must be a PIL image, a path or image bytes, got {type(example).__name__}.")
    with reading(name, "image"):
        return _upright(example, None), example.format


def _upright(image, mode: str | None):
    from PIL import Image, ImageFile, ImageOps

    if isinstance(image, ImageFile.ImageFile) and image.format not in (*FORMATS, "MPO"):  # several images as JPEG
        raise ValueError(f"it is {image.format}, none of {', '.join(FORMATS)}")
    most, pixels = Image.MAX_IMAGE_PIXELS, image.width * image.height
    if not pixels:
        raise ValueError("it has no pixels")
    if most is not None and pixels > most:
        raise ValueError(f"it has {pixels:,} pixels, more than the {most:,} of PIL.Image.MAX_IMAGE_PIXELS")
    image.load()
    if image.getexif().get(ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    return image if mode is None or mode == image.mode else image.convert(mode)


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
