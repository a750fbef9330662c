"""Sound, whatever it comes as, to samples: files, bytes, arrays, and what datasets gives."""

import io
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def opened(name: str, example: Any, rate: Any) -> tuple[str, Any, Any]:
    """What messages call an example, its samples and how many make a second; `rate` if it does not say."""
    if isinstance(example, Mapping) and "audio" in example:
        return opened(name, example["audio"], example.get("sampling_rate", rate))
    if isinstance(example, Mapping) and "array" in example:
        return name, example["array"], example.get("sampling_rate", rate)
    if isinstance(example, Mapping) and example.get("bytes") is not None:
        return opened(example.get("path") or name, example["bytes"], rate)
    if isinstance(example, Mapping) and example.get("path"):
        return opened(name, example["path"], rate)
    if isinstance(example, bytes):
        return name, *_decoded(name, io.BytesIO(example))
    if isinstance(example, str | os.PathLike):
        name = os.fspath(example)
        if "://" in name:
            raise ValueError(f"{name} must be a file on this machine, got a URL: download it first.")
        return name, *_decoded(name, name)
    if hasattr(example, "get_all_samples"):  # a decoder of torchcodec, which is what datasets decodes to
        samples = example.get_all_samples()
        return name, samples.data, samples.sample_rate
    return name, example, rate


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


def checked(name: str, found: Any) -> np.ndarray:
    """`(channels, samples)`, float32"""
    if not isinstance(found, np.ndarray | torch.Tensor | list):
        raise TypeError(f"{name} must be a waveform, a path or audio bytes, got {type(found).__name__}.")
    if isinstance(found, torch.Tensor):
        found = (found.float() if found.is_floating_point() else found).detach().cpu()
    try:
        found = np.atleast_2d(np.asarray(found))
        samples = found.astype(np.float32)
        if found.dtype in (np.int16, np.int32):  # as files have them
            samples /= np.iinfo(found.dtype).max + 1
        elif found.dtype == np.uint8:
            samples = (samples - 128) / 128
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers: {error}") from error
    if not samples.size:
        raise ValueError(f"{name} has no samples.")
    if samples.ndim == 2 and samples.shape[0] > 4 * samples.shape[1]:
        raise ValueError(f"{name} must be (channels, samples), got {samples.shape}, as if turned round: transpose it.")
    if samples.ndim != 2:
        raise ValueError(f"{name} must be (samples,) or (channels, samples), got an array of shape {samples.shape}.")
    if bad := np.count_nonzero(~np.isfinite(samples)):
        raise ValueError(f"{name} must have finite samples, but {bad} of {samples.size} are NaN or infinite.")
    return samples
