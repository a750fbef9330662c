"""Pictures with names: the system's colour emoji."""

import shutil
import subprocess
from pathlib import Path

FONT_HELP = (
    "no colour emoji font was found. Install one (Debian and Ubuntu: `apt-get install fonts-noto-color-emoji`; "
    "Fedora: `dnf install google-noto-color-emoji-fonts`) or name its file with --font."
)
FONT_PLACES = (
    "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf",
    "/usr/share/fonts/noto/NotoColorEmoji.ttf",
    "/usr/share/fonts/google-noto-color-emoji-fonts/NotoColorEmoji.ttf",
    "/System/Library/Fonts/Apple Color Emoji.ttc",
)
BITMAP_SIZES = (109, 160, 136, 128)  # the only sizes that colour bitmap fonts can be opened at


def find_font() -> Path:
    """The file of the system's colour emoji font.

    Raises:
        FileNotFoundError: if there is none, with what to install.
    """
    if shutil.which("fc-match"):
        asked = ["fc-match", "--format=%{file}", ":charset=1f600:color=true"]
        found = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
        if found and "emoji" in Path(found).name.lower():
            return Path(found)
    for place in map(Path, FONT_PLACES):
        if place.is_file():
            return place
    raise FileNotFoundError(FONT_HELP)


def emoji_dataset(size: int, font_file: Path | None = None):
    """Every fully qualified emoji that the font draws as one picture, with its English name.

    Returns:
        A `datasets.Dataset` with the columns `text` and `image` (`size` × `size` RGB on white).
    """
    import emoji
    from PIL import features

    if not features.check("raqm"):
        raise OSError("Pillow cannot join emoji of several parts without FriBiDi: `apt-get install libfribidi0`.")
    from datasets import Dataset, Features, Image, Value
    from PIL import Image as PILImage
    from PIL import ImageDraw, ImageFont

    font = _open_font(ImageFont, font_file or find_font())
    rows = {"text": [], "image": []}
    for symbol, about in emoji.EMOJI_DATA.items():
        if about["status"] != emoji.STATUS["fully_qualified"]:
            continue
        left, top, right, bottom = font.getbbox(symbol)
        width, height = right - left, bottom - top
        if width <= 0 or height <= 0 or width > 1.5 * height:
            continue  # newer than the font: not drawn, or drawn as its parts side by side
        picture = PILImage.new("RGB", (width, height), "white")
        ImageDraw.Draw(picture).text((-left, -top), symbol, font=font, embedded_color=True)
        rows["text"].append(about["en"].strip(":").replace("_", " "))
        rows["image"].append(picture.resize((size, size), PILImage.Resampling.LANCZOS))
    return Dataset.from_dict(rows, features=Features({"text": Value("string"), "image": Image()}))


def _open_font(ImageFont, file: Path):
    for size in BITMAP_SIZES:
        try:
            return ImageFont.truetype(str(file), size)
        except OSError:
            continue
    raise OSError(f"{file} cannot be opened as a font at any of the sizes {BITMAP_SIZES}.")
