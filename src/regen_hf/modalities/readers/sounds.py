"""Sound, whatever it comes as, to samples: files, bytes, arrays, and what datasets gives."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from . import files
from .files import file_of, reading

FORMATS = ("AIFF", "AU", "CAF", "FLAC", "MP3", "OGG", "RF64", "W64", "WAV", "WAVEX")
"""libsndfile's other formats are not read: some are told by the name or lead to other files."""
MOST_SAMPLES = 2**29
"""2 GiB as float32, three hours at 48,000 a second. A header may promise any number, and a file of silence be small."""


def opened(name: str, example: Any, rate: Any) -> tuple[str, Any, Any]:
    """What messages call an example, its samples and how many make a second; `rate` if it does not say."""
    if isinstance(example, Mapping) and "audio" in example:
        return opened(name, example["audio"], example.get("sampling_rate", rate))
    if isinstance(example, Mapping) and "array" in example:
        return name, example["array"], example.get("sampling_rate", rate)
    name, file = file_of(name, example)
    if file is not None:
        return name, *_decoded(name, file)
    if hasattr(example, "get_all_samples"):  # a decoder of torchcodec, which is what datasets decodes to
        with reading(name, "audio"):
            samples = example.get_all_samples()
        return name, samples.data, samples.sample_rate
    return name, example, rate


def _decoded(name: str, file: files.File) -> tuple[np.ndarray, int]:
    try:
        import soundfile
    except ImportError as error:
        raise ImportError("audio files are read by soundfile: pip install 'regen_hf[speech]'") from error
    with files.opened(name, "audio", file) as stream, soundfile.SoundFile(stream) as sound:
        if sound.format not in FORMATS:
            raise ValueError(f"it is {sound.format}, none of {', '.join(FORMATS)}")
        if sound.frames * sound.channels > MOST_SAMPLES:
            raise ValueError(f"it has {sound.frames * sound.channels:,} samples, more than {MOST_SAMPLES:,}: divide it")
        return sound.read(dtype="float32", always_2d=True).T, sound.samplerate


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
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
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
