"""Clips as Y."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from .base import Modality, whole_number, with_ending
from .image import MOST_PIXELS_A_SIDE, draw_sheet
from .readers.clips import MOST_FRAMES, clip, import_av

MOST_FRAMES_A_SECOND = 1000
"""As high-speed cameras take."""


class VideoModality(Modality):
    """RGB clips of one size and number of frames, through diffusers' `VideoProcessor`.

    Args:
        size: height and width in pixels; other frames are resized.
        num_frames: how many frames a clip has; of a longer one, frames at even distances in time are taken, the first
            and the last among them.
        fps: frames a second of what is saved.
    """

    key = "video"

    def __init__(self, size: int, num_frames: int, fps: int = 8):
        from diffusers.video_processor import VideoProcessor

        self.size = whole_number("size", size, MOST_PIXELS_A_SIDE)
        self.num_frames = whole_number("num_frames", num_frames, MOST_FRAMES)
        self.fps = whole_number("fps", fps, MOST_FRAMES_A_SECOND)
        self._processor = VideoProcessor(vae_scale_factor=1, resample="lanczos")

    def as_target(self, examples: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Clips as `target`, `(batch, 3, num_frames, size, size)`, `torch.float32` in [-1, 1].

        Args:
            examples: what [`clip`](readers/clips.py) reads: arrays `(frames, height, width, 3)`, `uint8`; lists of what
                [`ImageModality`] reads; or videos as paths, bytes, or `{"bytes": ..., "path": ...}` as datasets gives
                them undecoded.

        Raises:
            TypeError: for anything else.
            ValueError: for what cannot be read, has fewer than `num_frames` or too many frames, or of several sizes.
            ImportError: where the package av is missing to read a file.
        """
        clips = (clip(f"target {i}", example, self.num_frames) for i, example in enumerate(examples))
        return {"target": torch.cat([self._processor.preprocess_video([each], self.size, self.size) for each in clips])}

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

    def to_dict(self) -> dict[str, Any]:
        return {"size": self.size, "num_frames": self.num_frames, "fps": self.fps}


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
    av = import_av()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuv444p" if any(side % 2 for side in frames[0].size) else "yuv420p"  # which halves colours
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(image.convert("RGB"))))
        container.mux(stream.encode())
