"""Sound, whatever it comes as, to samples: files, bytes, arrays, and what datasets gives."""

import os
import re
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from . import opening
from .opening import file_of, reading

FORMATS = ("AIFF", "AU", "CAF", "FLAC", "MP3", "OGG", "RF64", "W64", "WAV", "WAVEX")
"""libsndfile's other formats are not read: some are told by the name or lead to other files."""
BEGINNINGS = (b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b".snd", b"dns.", b"caff", b"fLaC", b"OggS")
"""Of these formats but MP3, which begins with ID3 or eleven bits of 1. Nothing else is given to libsndfile."""
MOST_SAMPLES = 2**29
"""2 GiB as float32, three hours at 48,000 a second. A header may promise any number, and a file of silence be small."""
CUT = re.compile(r"^ *(?:data|SSND|Data Size|[Rr]iff(?: size)?) *: *(\d+) \(should be (\d+)\)", re.MULTILINE)
"""What libsndfile notes of a header that promises more, or less, than there is, before it reads what there is."""
UNKNOWN = 2**31 - 2**16
"""From here on a size means that the writer, into a pipe, did not know it."""
WHOLE = (np.int8, np.uint8, np.int16, np.uint16, np.int32)
"""Whose range is that of the samples; a list of whole numbers becomes int64, which says nothing of it."""
LOUDEST = 100
"""Of full scale 1, which mixes and filters exceed; what is louder has another scale."""


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


def _decoded(name: str, file: opening.File) -> tuple[np.ndarray, int]:
    try:
        import soundfile
    except ImportError as error:
        raise ImportError("audio files are read by soundfile: pip install 'regen_hf[speech]'") from error
    with opening.opened(name, "audio", file) as stream:
        begun = stream.read(4)
        stream.seek(0)
        is_mp3 = begun.startswith(b"ID3") or (begun[:1] == b"\xff" and begun[1:2] >= b"\xe0")
        if not is_mp3 and not begun.startswith(BEGINNINGS):
            raise ValueError(f"it is none of {', '.join(FORMATS)}")
        # a name in `.raw` would count more than what is in it
        if not isinstance(file, bytes) and not os.fspath(file).lower().endswith(".raw"):
            return _samples(soundfile, os.fspath(file))
        if not is_mp3:
            return _samples(soundfile, stream)
        with tempfile.NamedTemporaryFile(suffix=".mp3") as copy:  # some MP3 libsndfile 1.2 opens by a path only
            copy.write(stream.read())
            copy.flush()
            return _samples(soundfile, copy.name)


def _samples(soundfile, file: Any) -> tuple[np.ndarray, int]:
    with soundfile.SoundFile(file) as sound:
        if sound.format not in FORMATS:
            raise ValueError(f"it is {sound.format}, none of {', '.join(FORMATS)}")
        if sound.frames * sound.channels > MOST_SAMPLES:
            raise ValueError(f"it has {sound.frames * sound.channels:,} samples, more than {MOST_SAMPLES:,}: divide it")
        for promised, there in CUT.findall(sound.extra_info):
            if int(there) < int(promised) < UNKNOWN:
                raise ValueError(f"it is cut: of {int(promised):,} bytes of samples there are {int(there):,}")
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
        if found.dtype in WHOLE:
            samples = _scaled(samples, found.dtype)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{name} must be numbers: {error}") from error
    if found.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be numbers, got {found.dtype}.")
    if not samples.size:
        raise ValueError(f"{name} has no samples.")
    if samples.ndim == 2 and samples.shape[0] > 4 * samples.shape[1]:
        raise ValueError(f"{name} must be (channels, samples), got {samples.shape}, as if turned round: transpose it.")
    if samples.ndim != 2:
        raise ValueError(f"{name} must be (samples,) or (channels, samples), got an array of shape {samples.shape}.")
    if bad := np.count_nonzero(~np.isfinite(samples)):
        raise ValueError(f"{name} must have finite samples, but {bad} of {samples.size} are NaN or infinite.")
    loudest = np.abs(samples).max()
    if loudest > 1 and found.dtype.kind in "iu" and found.dtype not in WHOLE:
        raise ValueError(
            f"{name} must be an array of int16, or of floats from -1 to 1: the range of {found.dtype} with {loudest:g} "
            "is not known."
        )
    if loudest > LOUDEST:
        raise ValueError(f"{name} must have samples from -1 to 1, and none beyond {LOUDEST}, got {loudest:g}.")
    return samples


def _scaled(samples: np.ndarray, whole: np.dtype) -> np.ndarray:
    """From -1 to 1, as files have them: of numbers without a sign, the middle is silence."""
    half = 2 ** (8 * whole.itemsize - 1)
    return (samples - half) / half if whole.kind == "u" else samples / half
