"""Clips, whatever they come as, to frames."""

from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from .opening import File, file_of, opened
from .pictures import picture

CONTAINERS = "asf,avi,flv,gif,matroska,mov,mpeg,mpegts,ogg"
"""FFmpeg's other formats are not read: playlists and scripts lead to other files and to the network."""
MOST_FRAMES = 100_000
"""More than an hour at 24 a second. Each must be decoded, and 10,000 may be in 0.3 MB."""


def clip(name: str, example: Any, num_frames: int) -> list:
    """As many PIL images in RGB, of one size, taken at even distances in time, the first and the last among them.

    Args:
        name: what messages call it, unless it is in a file.
        example: an array `(frames, height, width, 3)`, `uint8`; a list of what [`picture`] reads; or a path, bytes, or
            `{"bytes": ..., "path": ...}` as datasets gives them undecoded.

    Raises:
        TypeError: for anything else.
        ValueError: for what is in none of `CONTAINERS` or broken; has fewer frames, more than `MOST_FRAMES`, some
            larger than `PIL.Image.MAX_IMAGE_PIXELS`, or chosen ones that differ in size.
        ImportError: where the package av is missing to read a file.
    """
    from PIL import Image

    name, file = file_of(name, example)
    if file is not None:
        found = _from_file(name, file, num_frames)
    elif isinstance(example, np.ndarray):
        if example.ndim != 4 or example.shape[3] != 3 or example.dtype != np.uint8:
            raise ValueError(f"{name} must be (frames, height, width, 3), uint8, got {example.shape}, {example.dtype}.")
        found = [Image.fromarray(example[place]) for place in _places(name, np.arange(len(example)), num_frames)]
    elif isinstance(example, list | tuple):
        places = _places(name, np.arange(len(example)), num_frames)
        found = [(f"{name}, frame {place}", example[place]) for place in places]
        return _of_one_size(name, [picture(*each) for each in found])
    else:
        kind = type(example).__name__
        raise TypeError(f"{name} must be an array, PIL images, a path or bytes of a video, got {kind}.")
    return _of_one_size(name, [picture(name, image) for image in found])


def _of_one_size(name: str, frames: list) -> list:
    if other := next((frame for frame in frames if frame.size != frames[0].size), None):
        first, found = (" × ".join(map(str, each.size)) for each in (frames[0], other))
        raise ValueError(f"{name} must have frames of one size, got {first} and {found}.")
    return frames


def _places(name: str, times: np.ndarray, num_frames: int) -> list[int]:
    """Which frames are next to even distances in time."""
    if len(times) < num_frames:
        raise ValueError(f"{name} must have at least `num_frames` {num_frames} frames, got {len(times)}.")
    if len(times) > MOST_FRAMES:
        raise ValueError(f"{name} must have at most {MOST_FRAMES:,} frames, got {len(times):,}: divide it.")
    wanted = np.linspace(times[0], times[-1], num_frames)
    places = np.interp(wanted, times, np.arange(len(times)))
    return places.round(6).round().astype(int).tolist()  # halves are halves, however they were computed


def _from_file(name: str, file: File, num_frames: int) -> list:
    """Reads twice: first when the frames are, then those that are wanted, so that the others are not held."""
    import_av()
    with opened(name, "video", file) as stream:
        times = _packet_times(stream)
    for _ in range(2):
        places = _places(name, times, num_frames)
        with opened(name, "video", file) as stream:
            frames, decoded = _decoded(stream, set(places))
        if len(decoded) == len(times):
            break
        times = decoded  # not every packet was a frame
    return [frames[place] for place in places]


def _container(stream: BinaryIO):
    """Not by a path, which could be one of FFmpeg's protocols."""
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": ""}
    av = import_av()
    try:
        return av.open(stream, metadata_errors="ignore", options=options)
    except av.FFmpegError as error:
        raise ValueError(f"it is none of {CONTAINERS.replace(',', ', ')}, or broken") from error


def _packet_times(stream: BinaryIO) -> np.ndarray:
    """When each frame is, in order, as far as the container tells; else how many there are."""
    with _container(stream) as container:
        video, times = _video(container), []
        for packet in container.demux(video):
            if packet.size and not packet.is_discard:
                times.append(packet.pts)
            if len(times) > MOST_FRAMES:
                break
    return _in_time(times)


def _in_time(times: Sequence[int | None]) -> np.ndarray:
    told = None not in times and len(set(times)) == len(times)
    return np.array(sorted(times) if told else range(len(times)), np.float64)


def _decoded(stream: BinaryIO, places: set[int]) -> tuple[dict[int, Any], np.ndarray]:
    """The frames at some places as PIL images, and when each frame is."""
    found, times = {}, []
    with _container(stream) as container:
        for place, frame in enumerate(container.decode(_video(container))):
            times.append(frame.pts)
            if place in places:
                found[place] = _upright(frame)
            if place >= MOST_FRAMES:
                break
    return found, _in_time(times)


def _video(container):
    from PIL import Image

    if not container.streams.video:
        raise ValueError("there is no picture in it")
    video = container.streams.video[0]
    if Image.MAX_IMAGE_PIXELS is not None:
        video.codec_context.options = {"max_pixels": str(Image.MAX_IMAGE_PIXELS)}
    return video


def _upright(frame):
    """A PIL image; telephones store a clip as it was held, and how far it is to be turned."""
    from PIL import Image

    clear = any(component.is_alpha for component in frame.format.components)
    image = Image.fromarray(frame.to_ndarray(format="rgba")) if clear else frame.to_image()
    return image.rotate(frame.rotation, expand=True) if frame.rotation else image


def import_av():
    try:
        import av
    except ImportError as error:
        raise ImportError("video files need the package av: pip install 'regen_hf[video]'.") from error
    return av
