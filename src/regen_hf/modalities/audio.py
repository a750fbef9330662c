"""Waveforms as X and as Y."""

import io
import os
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .base import Modality


class AudioModality(Modality):
    """Waveforms of any length.

    Args:
        sampling_rate: how many samples make a second; others are refused.
        channels: 1 for mono, 2 for stereo.
        normalize: bring each waveform that is a source to mean 0 and variance 1, as some encoders want it.

    Example:
        >>> audio = AudioModality(16000)
        >>> batch = audio.as_target([np.zeros(4), np.zeros(2)])
        >>> batch["target"].shape, batch["target_mask"].tolist()
        (torch.Size([2, 1, 4]), [[True, True, True, True], [True, True, False, False]])
    """

    key = "audio"

    def __init__(self, sampling_rate: int, channels: int = 1, normalize: bool = False):
        if not isinstance(sampling_rate, int) or sampling_rate < 1:
            raise ValueError(f"`sampling_rate` must be a whole number of at least 1, got {sampling_rate!r}.")
        if channels not in (1, 2):
            raise ValueError(f"`channels` must be 1 or 2, got {channels!r}.")
        self.sampling_rate, self.channels, self.normalize = sampling_rate, channels, normalize

    @property
    def rate(self) -> float:
        return float(self.sampling_rate)

    def as_source(self, examples: Sequence[Any]) -> dict[str, torch.Tensor]:
        """`input_values`, `(batch, samples)`, `torch.float32`, and `padding_mask`, `(batch, samples)`, 1 where real."""
        if self.channels != 1:
            raise ValueError(f"a source must be mono: `channels` must be 1, got {self.channels}.")
        waves = [self._read(i, example, "source")[0] for i, example in enumerate(examples)]
        if self.normalize:
            waves = [(each - each.mean()) / np.sqrt(each.var() + 1e-7) for each in waves]
        values, mask = _padded([each[None] for each in waves])
        return {"input_values": values[:, 0], "padding_mask": mask.long()}

    def as_target(self, examples: Sequence[Any]) -> dict[str, torch.Tensor]:
        """`target`, `(batch, channels, samples)`, `torch.float32`, and `target_mask`, `(batch, samples)`, bool.

        Args:
            examples: arrays `(samples,)` or `(channels, samples)` at `sampling_rate`, `{"array": ...,
                "sampling_rate": ...}`, or what the package soundfile reads: paths, or `{"bytes": ..., "path": ...}`
                as datasets gives them undecoded.

        Raises:
            TypeError: for anything else.
            ValueError: for what cannot be read, has another rate or number of channels, no samples, or NaN.
        """
        values, mask = _padded([self._read(i, example, "target") for i, example in enumerate(examples)])
        return {"target": values, "target_mask": mask}

    def from_target(self, values: torch.Tensor, mask: torch.Tensor | None = None) -> list[dict[str, Any]]:
        """`{"audio": array, "sampling_rate": int}` each, mono as `(samples,)`, stereo as `(channels, samples)`."""
        lengths = [values.shape[-1]] * len(values) if mask is None else mask.sum(-1).tolist()
        waves = [row[:, :length].float().cpu().numpy() for row, length in zip(values, lengths, strict=True)]
        return [
            {"audio": each[0] if self.channels == 1 else each, "sampling_rate": self.sampling_rate} for each in waves
        ]

    def save_samples(self, samples: Sequence[dict[str, Any]], captions: Sequence[str], path: Path) -> Path:
        """The waveforms one after the other with half a second between them, as `path` + `.wav`; the captions, in the
        same order, as `path` + `.txt`."""
        path = Path(path).with_suffix(".wav")
        path.parent.mkdir(parents=True, exist_ok=True)
        silence = np.zeros((self.channels, self.sampling_rate // 2), np.float32)
        waves = [part for sample in samples for part in (np.atleast_2d(sample["audio"]), silence)]
        pcm = (np.concatenate(waves, axis=1).clip(-1, 1) * 32767).astype("<i2").T
        with wave.open(str(path), "wb") as file:
            file.setnchannels(self.channels)
            file.setsampwidth(2)
            file.setframerate(self.sampling_rate)
            file.writeframes(pcm.tobytes())
        path.with_suffix(".txt").write_text("".join(f"{caption}\n" for caption in captions), encoding="utf-8")
        return path

    def prepare_column(self, dataset, column: str):
        """Leaves audio undecoded, which datasets would do by torchcodec."""
        from datasets import Audio

        if dataset.features is not None and isinstance(dataset.features[column], Audio):
            return dataset.cast_column(column, Audio(decode=False))
        return dataset

    def to_dict(self) -> dict[str, Any]:
        return {"sampling_rate": self.sampling_rate, "channels": self.channels, "normalize": self.normalize}

    def _read(self, position: int, example: Any, role: str) -> np.ndarray:
        """`(channels, samples)`"""
        name, rate = f"{role} {position}", self.sampling_rate
        if isinstance(example, dict) and "array" in example:
            example, rate = example["array"], example.get("sampling_rate", rate)
        elif isinstance(example, dict) and (example.get("bytes") or example.get("path")):
            name = example.get("path") or name
            example, rate = _decoded(name, io.BytesIO(example["bytes"]) if example.get("bytes") else example["path"])
        elif isinstance(example, str | os.PathLike):
            name = os.fspath(example)
            example, rate = _decoded(name, name)
        if not isinstance(example, np.ndarray | torch.Tensor | list):
            raise TypeError(f"{name} must be a waveform, a path or audio bytes, got {type(example).__name__}.")
        found = np.atleast_2d(np.asarray(example, dtype=np.float32))
        if rate != self.sampling_rate:
            raise ValueError(f"{name} must have {self.sampling_rate} samples a second, got {rate}: resample it.")
        if found.ndim != 2 or found.shape[0] != self.channels:
            raise ValueError(f"{name} must have {self.channels} channel(s), got an array of shape {found.shape}.")
        if not found.shape[1] or not np.isfinite(found).all():
            raise ValueError(f"{name} must be samples that are finite, got {found.shape[1]}, some NaN or infinite.")
        return found


def _decoded(name: str, file: Any) -> tuple[np.ndarray, int]:
    try:
        import soundfile
    except ImportError as error:
        raise ImportError("audio files are read by soundfile: pip install 'regen_hf[speech]'") from error
    try:
        found, rate = soundfile.read(file, dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{name} is no readable audio: {error}") from error
    return found.T, rate


def _padded(waves: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([each.shape[1] for each in waves])
    values = torch.zeros(len(waves), waves[0].shape[0], int(lengths.max()))
    for row, each in zip(values, waves, strict=True):
        row[:, : each.shape[1]] = torch.from_numpy(each)
    return values, torch.arange(values.shape[-1]) < lengths[:, None]
