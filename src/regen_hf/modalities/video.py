"""Clips as Y."""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .base import Modality, leave_undecoded, with_ending
from .image import draw_sheet


class VideoModality(Modality):
    """RGB clips of one size and number of frames, through diffusers' `VideoProcessor`.

    Args:
        size: height and width in pixels; other frames are resized.
        num_frames: how many frames a clip has; of a longer one, evenly spaced frames are taken, the first and the last
            among them.
        fps: frames a second of what is saved.
    """

    key = "video"

    def __init__(self, size: int, num_frames: int, fps: int = 8):
        from diffusers.video_processor import VideoProcessor

        for name, value in {"size": size, "num_frames": num_frames, "fps": fps}.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` must be a whole number of at least 1, got {value!r}.")
        self.size, self.num_frames, self.fps = size, num_frames, fps
        self._processor = VideoProcessor(vae_scale_factor=1, resample="lanczos")

    def as_target(self, examples: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Clips as `target`, `(batch, 3, num_frames, size, size)`, `torch.float32` in [-1, 1].

        Args:
            examples: arrays `(frames, height, width, 3)`, `uint8`; lists of PIL images; or what PyAV reads: paths,
                `bytes`, or `{"bytes": ..., "path": ...}` as datasets gives them undecoded.

        Raises:
            TypeError: for anything else.
            ValueError: for what cannot be read, has fewer than `num_frames` frames, or frames that differ in size.
            ImportError: where the package av is missing to read a file.
        """
        clips = [
            self._processor.preprocess_video([self._clip(*each)], self.size, self.size) for each in enumerate(examples)
        ]
        return {"target": torch.cat(clips)}

    def _clip(self, position: int, example: Any) -> list:
        """As many PIL images as a clip has frames."""
        name, frames = _frames(f"target {position}", example)
        if len(frames) < self.num_frames:
            raise ValueError(f"{name} must have at least `num_frames` {self.num_frames} frames, got {len(frames)}.")
        if other := next((frame for frame in frames if frame.size != frames[0].size), None):
            first, found = (" × ".join(map(str, each.size)) for each in (frames[0], other))
            raise ValueError(f"{name} must have frames of one size, got {first} and {found}.")
        chosen = np.linspace(0, len(frames) - 1, self.num_frames).round().astype(int)
        return [frames[i].convert("RGB") for i in chosen]

    def from_target(self, values: torch.Tensor, mask: torch.Tensor | None = None) -> list[dict[str, Any]]:
        """`(batch, 3, frames, height, width)` in [-1, 1] as `{"video": list of PIL images, "fps": int}`; values beyond
        are clipped. diffusers' `export_to_video` and `export_to_gif` take such a list, and so does [`save_video`]."""
        clips = self._processor.postprocess_video(values.float(), output_type="pil")
        return [{"video": clip, "fps": self.fps} for clip in clips]

    def save_samples(self, samples: Sequence[dict[str, Any]], captions: Sequence[str], path: Path) -> Path:
        """A sheet of the clips with their captions below, in motion, as `path` + `.gif`."""
        path = with_ending(path, ".gif")
        times = zip(*(sample["video"] for sample in samples), strict=True)
        save_video([draw_sheet([[image] for image in at_once], captions) for at_once in times], path, self.fps)
        return path

    def prepare_column(self, dataset, column: str):
        """Leaves clips undecoded until they are needed, so that one that is broken can be named."""
        from datasets import Video

        return leave_undecoded(dataset, column, Video)

    def to_dict(self) -> dict[str, Any]:
        return {"size": self.size, "num_frames": self.num_frames, "fps": self.fps}


def _frames(name: str, example: Any) -> tuple[str, list]:
    """PIL images, whatever they came as, and what the clip is called in messages."""
    from PIL import Image

    if isinstance(example, np.ndarray):
        if example.ndim != 4 or example.shape[3] != 3 or example.dtype != np.uint8:
            raise ValueError(f"{name} must be (frames, height, width, 3), uint8, got {example.shape}, {example.dtype}.")
        return name, [Image.fromarray(frame) for frame in example]
    if isinstance(example, list | tuple) and all(isinstance(frame, Image.Image) for frame in example):
        return name, list(example)
    if isinstance(example, dict) and (example.get("bytes") or example.get("path")):
        name = example.get("path") or name
        return name, _decoded(name, example.get("bytes") or example["path"])
    if isinstance(example, str | os.PathLike):
        return str(example), _decoded(str(example), example)
    if isinstance(example, bytes):
        return name, _decoded(name, example)
    raise TypeError(f"{name} must be an array, PIL images, a path or bytes of a video, got {type(example).__name__}.")


def _decoded(name: str, file: bytes | str | os.PathLike) -> list:
    av = _av()
    try:
        source = io.BytesIO(file) if isinstance(file, bytes) else str(file)
        with av.open(source, metadata_errors="ignore") as container:
            return [_upright(frame) for frame in container.decode(video=0)]
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"{name} is no readable video: {error}") from error


def _upright(frame):
    """A PIL image; telephones store a clip as it was held, and how far it is to be turned."""
    image = frame.to_image()
    return image.rotate(frame.rotation, expand=True) if frame.rotation else image


def save_video(frames: Sequence[Any], path: str | os.PathLike, fps: int = 8) -> None:
    """Writes PIL images of one size as a video. A GIF loops forever, and merges equal consecutive frames into one that
    lasts as long.

    Args:
        path: ends in `.mp4`, for H.264 by PyAV, or in `.gif`.

    Raises:
        ValueError: for another ending, or no frames.
    """
    from diffusers.utils import export_to_gif

    path, frames = Path(path), list(frames)
    if not frames:
        raise ValueError("`frames` must hold at least one image.")
    if path.suffix not in (".mp4", ".gif"):
        raise ValueError(f"`path` must end in .mp4 or .gif, got {str(path)!r}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gif":
        export_to_gif(frames, str(path), fps)
        return
    av = _av()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuv444p" if any(side % 2 for side in frames[0].size) else "yuv420p"  # which halves colours
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(image.convert("RGB"))))
        container.mux(stream.encode())


def _av():
    try:
        import av
    except ImportError as error:
        raise ImportError("video files need the package av: pip install 'regen_hf[video]'.") from error
    return av
