"""accelerate's trackers, and files that they have no common way to take: pictures, sounds, texts."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from .arguments import StageArguments

IMAGES, SOUNDS = (".png", ".jpg", ".gif"), (".wav", ".flac")


def check_trackers(names: Iterable[str]) -> None:
    """Raises `ValueError` for a tracker that accelerate does not know or whose package is not installed."""
    from accelerate.tracking import get_available_trackers

    there = [str(tracker) for tracker in get_available_trackers()]
    for name in names:
        if name not in there:
            raise ValueError(f"`report_to` must be of {', '.join(there) or 'nothing'}, got {name!r}: is it installed?")


def start_trackers(accelerator, names: Sequence[str], arguments: StageArguments, folder: Path) -> None:
    """Lets an accelerator's trackers begin, or go on with, what they keep of the training in `folder`."""
    settings = {key: str(value) for key, value in dataclasses.asdict(arguments).items()}
    runs = {"trackio": {"name": str(folder).strip("/").replace("/", "-"), "resume": "allow"}}
    accelerator.init_trackers("regen_hf", settings, {name: runs[name] for name in names if name in runs})


def log_file(trackers: Iterable, name: str, path: Path, step: int) -> None:
    """Shows a file of samples in each tracker, as its suffix tells what it is.

    Args:
        trackers: accelerate's.
        name: under which it is shown.
        path: a picture, a sound, or else a text.
    """
    for tracker in trackers:
        if tracker.name == "tensorboard":
            _log_to_tensorboard(tracker.writer, name, path, step)
        elif tracker.name == "trackio":
            _log_to_trackio(tracker, name, path, step)
        elif path.suffix in IMAGES and hasattr(tracker, "log_images"):
            tracker.log_images({name: [_pixels(path)]}, step=step)
        elif path.suffix not in IMAGES + SOUNDS:
            tracker.log({name: path.read_text(encoding="utf-8")}, step=step)


def _log_to_tensorboard(writer, name: str, path: Path, step: int) -> None:
    if path.suffix in IMAGES:
        writer.add_image(name, _pixels(path), step, dataformats="HWC")
    elif path.suffix in SOUNDS:
        import soundfile

        sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
        writer.add_audio(name, sound.T[:1], step, sample_rate=rate)
    else:
        writer.add_text(name, path.read_text(encoding="utf-8"), step)
    writer.flush()


def _log_to_trackio(tracker, name: str, path: Path, step: int) -> None:
    import trackio

    if path.suffix in IMAGES:
        shown = trackio.Image(str(path))
    elif path.suffix in SOUNDS:
        shown = trackio.Audio(str(path))
    else:
        shown = trackio.Markdown(path.read_text(encoding="utf-8"))
    tracker.log({name: shown}, step=step)


def _pixels(path: Path):
    import numpy
    from PIL import Image

    return numpy.asarray(Image.open(path).convert("RGB"))
