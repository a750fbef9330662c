"""Waveforms as X and as Y."""

import warnings
import wave
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoFeatureExtractor, SequenceFeatureExtractor

from ..parts.settings import shown
from .base import Modality, padded, truth, whole_number, with_ending
from .readers.sounds import MOST_SAMPLES, checked, opened

MOST_A_SECOND = 768_000
"""The most that converters have."""
LOWEST_RATE, HIGHEST_RATE = 1_000, 10_000_000
"""Of what is resampled: telephones have 8,000, and recorders of ultrasound less than ten million."""
MOST_RESAMPLED = 2**27
"""Samples, over two hours at 16,000 a second, where they are more than there were before."""
BINS = ("feature_size", "num_mel_bins", "n_mels", "num_chroma")
WINDOWS = ("n_fft", "fft_length", "fft_window_size", "win_length", "frame_length", "window_size", "filter_length")
LARGEST_SIZE, MOST_FILTERS = 2**16, 2**27
"""Of those settings of a feature extractor, and of bins times window; those of transformers have 2**15 and 2**20."""


class AudioModality(Modality):
    """Waveforms of any length.

    Args:
        sampling_rate: samples per second; audio at another rate is resampled, with a warning.
        channels: 1 for mono, to which stereo is mixed down, with a warning; 2 for stereo.
        normalize: whether each waveform of a source is normalised to mean 0 and variance 1, as some encoders expect.
        feature_extractor: a feature extractor of transformers with the same `sampling_rate`, whose output is the source
            instead of a waveform, such as the spectrogram of a `ParakeetFeatureExtractor`.
        max_seconds: the longest audio that the model takes; a source of [`RegenerationPipeline`] that is longer is cut
            where it is quietest. `None` for any length.

    Example:
        >>> audio = AudioModality(16000)
        >>> batch = audio.as_target([np.zeros(4), np.zeros(2)])
        >>> batch["target"].shape, batch["target_mask"].tolist()
        (torch.Size([2, 1, 4]), [[True, True, True, True], [True, True, False, False]])
        >>> loud = np.ones(1500)
        >>> loud[800:900] = 0
        >>> [piece.shape for piece in AudioModality(1000, max_seconds=1).pieces(loud)]
        [(1, 877), (1, 623)]
    """

    key = "audio"

    def __init__(
        self,
        sampling_rate: int,
        channels: int = 1,
        normalize: bool = False,
        feature_extractor: SequenceFeatureExtractor | None = None,
        max_seconds: float | None = None,
    ):
        sampling_rate = whole_number("sampling_rate", sampling_rate, MOST_A_SECOND)
        if isinstance(channels, bool) or channels not in (1, 2):
            raise ValueError(f"`channels` must be 1 or 2, got {shown(channels)}.")
        truth("normalize", normalize)
        if max_seconds is not None and (
            not isinstance(max_seconds, Real)
            or isinstance(max_seconds, bool)
            or not 1 <= max_seconds * sampling_rate < float("inf")
        ):
            raise ValueError(
                f"`max_seconds` must be a number above 0 that at least one sample fits in, got {shown(max_seconds)}."
            )
        if max_seconds is not None and max_seconds * sampling_rate > MOST_SAMPLES:
            most = MOST_SAMPLES / sampling_rate
            raise ValueError(f"`max_seconds` must be at most {most:g} at this sampling rate, got {shown(max_seconds)}.")
        if feature_extractor is not None:
            _check_feature_extractor(feature_extractor, sampling_rate, normalize)
        self.sampling_rate, self.channels, self.normalize = sampling_rate, channels, normalize
        self.feature_extractor, self.max_seconds = feature_extractor, max_seconds
        self._told = set()

    @property
    def rate(self) -> float:
        return float(self.sampling_rate)

    def as_source(self, examples: Sequence[Any]) -> dict[str, torch.Tensor]:
        """`input_values`, `(batch, samples)`, `torch.float32`, and `padding_mask`, `(batch, samples)`, `torch.long`, 1
        where real.

        With a `feature_extractor`, the `input_features` `(batch, frames, bins)` or `input_values` that it makes of each
        example by itself, padded with 0, and `padding_mask`, `(batch, frames or samples)`, where it gives one.

        Args:
            examples: as those of [`AudioModality.as_target`].
        """
        if self.channels != 1:
            raise ValueError(f"a source must be mono: `channels` must be 1, got {self.channels}.")
        waves = [(name, each[0]) for name, each in self._read_all(examples, "source")]
        if self.feature_extractor is not None:
            return self._features(waves)
        waves = [each for _, each in waves]
        if self.normalize:
            waves = [(each - each.mean()) / np.sqrt(each.var() + 1e-7) for each in waves]
        values, mask = padded([torch.from_numpy(each) for each in waves])
        return {"input_values": values, "padding_mask": mask.long()}

    def as_target(self, examples: Sequence[Any]) -> dict[str, torch.Tensor]:
        """`target`, `(batch, channels, samples)`, `torch.float32`, and `target_mask`, `(batch, samples)`, bool.

        Args:
            examples: arrays `(samples,)` or `(channels, samples)` at `sampling_rate`, 16-bit integers taken for -1 to
                1; `{"array": ..., "sampling_rate": ...}`; files in one of the [`FORMATS`](readers/sounds.py), as paths,
                `bytes`, or `{"bytes": ..., "path": ...}` as datasets gives them undecoded; what datasets decodes to; or
                a row of a dataset, with any of these under `"audio"`.

        Raises:
            TypeError: for anything else.
            ValueError: for what cannot be read, has too many channels or too few, no samples, NaN or infinite ones,
                or lasts longer than `max_seconds`.
            ImportError: where audio must be resampled and the package soxr is missing, or soundfile to read a file.
        """
        values, mask = padded([torch.from_numpy(each) for _, each in self._read_all(examples, "target")])
        return {"target": values, "target_mask": mask}

    def from_target(self, values: torch.Tensor, mask: torch.Tensor | None = None) -> list[dict[str, Any]]:
        """`{"audio": array, "sampling_rate": int}` each, mono as `(samples,)`, stereo as `(channels, samples)`."""
        lengths = [values.shape[-1]] * len(values) if mask is None else mask.sum(-1).tolist()
        waves = [row[:, :length].float().cpu().numpy() for row, length in zip(values, lengths, strict=True)]
        return [
            {"audio": each[0] if self.channels == 1 else each, "sampling_rate": self.sampling_rate} for each in waves
        ]

    def pieces(self, example: Any) -> list[Any]:
        """The audio itself or, where it is longer than `max_seconds`, arrays `(channels, samples)` that are not: each
        cut is at the quietest 20 ms in the last third of the longest piece that there could be."""
        if self.max_seconds is None:
            return [example]
        _, found = self._read(0, example, "source")
        return np.split(found, _quiet_places(found, self._limit, self.sampling_rate // 50), axis=1)

    def join(self, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The waveforms, concatenated."""
        waves = [each["audio"] for each in results]
        return {"audio": np.concatenate(waves, axis=-1), "sampling_rate": self.sampling_rate}

    def save_samples(self, samples: Sequence[dict[str, Any]], captions: Sequence[str], path: Path) -> Path:
        """The waveforms, half a second of silence between them, as `path` + `.wav`; the captions, in the same order,
        as `path` + `.wav.txt`."""
        path = with_ending(path, ".wav")
        path.parent.mkdir(parents=True, exist_ok=True)
        silence = np.zeros((self.channels, self.sampling_rate // 2), np.float32)
        waves = [part for sample in samples for part in (np.atleast_2d(sample["audio"]), silence)]
        pcm = (np.concatenate(waves, axis=1).clip(-1, 1) * 32767).astype("<i2").T
        with wave.open(str(path), "wb") as file:
            file.setnchannels(self.channels)
            file.setsampwidth(2)
            file.setframerate(self.sampling_rate)
            file.writeframes(pcm.tobytes())
        told = path.with_name(f"{path.name}.txt")  # not that of a text of the same name
        told.write_text("".join(f"{caption}\n" for caption in captions), encoding="utf-8")
        return path

    def to_dict(self) -> dict[str, Any]:
        """The settings; of a feature extractor, which is in a file of its own, the name of its class."""
        found = {"sampling_rate": self.sampling_rate, "channels": self.channels, "normalize": self.normalize}
        # only where given, so that what was made before there were these settings is known again
        if self.feature_extractor is not None:
            found["feature_extractor"] = type(self.feature_extractor).__name__
        if self.max_seconds is not None:
            found["max_seconds"] = self.max_seconds
        return found

    def save(self, folder: str) -> None:
        if self.feature_extractor is not None:
            self.feature_extractor.save_pretrained(folder)

    @classmethod
    def load(cls, name_or_path: str, settings: dict[str, Any], subfolder: str = "", **kwargs) -> "AudioModality":
        if settings.get("feature_extractor") is None:
            return cls._made(settings)
        described, _ = SequenceFeatureExtractor.get_feature_extractor_dict(name_or_path, subfolder=subfolder, **kwargs)
        _check_sizes(described, f"the feature extractor of {name_or_path}")
        found = AutoFeatureExtractor.from_pretrained(
            name_or_path, subfolder=subfolder, trust_remote_code=False, **kwargs
        )
        return cls._made({**settings, "feature_extractor": found})

    @property
    def _limit(self) -> int:
        return round(self.max_seconds * self.sampling_rate)

    def _read_all(self, examples: Sequence[Any], role: str) -> list[tuple[str, np.ndarray]]:
        found = [self._read(i, example, role) for i, example in enumerate(examples)]
        for name, each in found if self.max_seconds is not None else []:
            if each.shape[1] > self._limit:
                seconds = each.shape[1] / self.sampling_rate
                raise ValueError(f"{name} lasts {seconds:.2f} seconds, but `max_seconds` is {self.max_seconds:g}.")
        return found

    def _read(self, position: int, example: Any, role: str) -> tuple[str, np.ndarray]:
        """What messages call an example, and its `(channels, samples)`."""
        name, found, rate = opened(f"{role} {position}", example, self.sampling_rate)
        found = checked(name, found)
        if len(found) == 2 and self.channels == 1:
            self._tell("mixed", f"{name} is stereo: it is mixed down to mono, and so is what else is stereo.")
            found = found.mean(axis=0, keepdims=True)
        if len(found) != self.channels:
            raise ValueError(f"{name} must have {self.channels} channel(s), got an array of shape {found.shape}.")
        return name, found if rate == self.sampling_rate else self._resampled(name, found, rate)

    def _resampled(self, name: str, found: np.ndarray, rate: Any) -> np.ndarray:
        if not isinstance(rate, Real) or isinstance(rate, bool) or not 0 < rate < float("inf"):
            raise ValueError(f"{name} must say its samples a second by a number above 0, got {rate!r}.")
        try:
            import soxr
        except ImportError as error:
            raise ImportError("audio is resampled by soxr: pip install 'regen_hf[speech]'") from error
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:  # the filter between two rates is as long as their ratio
            raise ValueError(
                f"{name} must have from {LOWEST_RATE:,} to {HIGHEST_RATE:,} samples a second to be resampled, got "
                f"{rate:g}."
            )
        if (samples := found.size * self.sampling_rate / rate) > max(MOST_RESAMPLED, found.size):
            raise ValueError(
                f"{name}, of {rate:g} samples a second, has {samples:.3g} at {self.sampling_rate} a second, more than "
                f"{MOST_RESAMPLED:,}."
            )
        self._tell(
            "resampled",
            f"{name} is resampled from {rate:g} to {self.sampling_rate} samples a second, and so is "
            "what else has another rate.",
        )
        resampled = soxr.resample(found.T, rate, self.sampling_rate).T
        if not resampled.shape[1]:
            raise ValueError(f"{name} has no samples left at {self.sampling_rate} a second, of {found.shape[1]}.")
        return resampled

    def _tell(self, what: str, message: str) -> None:
        if what not in self._told:
            self._told.add(what)
            warnings.warn(message, stacklevel=6)

    def _features(self, waves: Sequence[tuple[str, np.ndarray]]) -> dict[str, torch.Tensor]:
        """One by one, so that what is made of an example does not depend on the others."""
        name, found = self.feature_extractor.model_input_names[0], []
        for example, each in waves:
            made = self.feature_extractor(
                each, sampling_rate=self.sampling_rate, truncation=False, return_attention_mask=True,
                return_tensors="pt",
            )  # fmt: skip
            if not torch.isfinite(made[name]).all():
                raise ValueError(
                    f"{example} is too short for {type(self.feature_extractor).__name__}: {len(each)} samples."
                )
            found.append(made)
        if len({each[name].shape[2:] for each in found}) > 1:
            kind = type(self.feature_extractor).__name__
            raise ValueError(f"`max_seconds` is needed: {kind} gives one size for shorter audio, which some exceeds.")
        batch = {name: pad_sequence([each[name][0].float() for each in found], batch_first=True)}
        if "attention_mask" in found[0]:
            masks = [each["attention_mask"][0].long() for each in found]
            batch["padding_mask"] = pad_sequence(masks, batch_first=True)
        return batch


def _check_feature_extractor(found: Any, sampling_rate: int, normalize: bool) -> None:
    if not isinstance(found, SequenceFeatureExtractor):
        raise TypeError(f"`feature_extractor` must be one of transformers for audio, got {type(found).__name__}.")
    name, made = type(found).__name__, found.model_input_names[0]
    if made not in ("input_features", "input_values"):
        raise ValueError(f"`feature_extractor` must give input_features or input_values, but {name} gives {made}.")
    for setting, value in found.to_dict().items():
        if isinstance(value, int | float) and not abs(value) <= MOST_SAMPLES:
            raise ValueError(f"`{setting}` of the `feature_extractor` must be at most {MOST_SAMPLES:,}, got {value}.")
    if found.sampling_rate != sampling_rate:
        raise ValueError(f"`sampling_rate` must be the {found.sampling_rate} of the {name}, got {sampling_rate}.")
    if normalize:
        raise ValueError(f"`normalize` must be False with a `feature_extractor`: the {name} decides of it.")


def _check_sizes(described: dict[str, Any], where: str) -> None:
    """Before a feature extractor makes a bank of filters, of as many numbers as `BINS` times `WINDOWS`."""
    sizes = {"feature_size": 1, "n_fft": 1, "win_length": 1, "sampling_rate": 1}
    for key, value in described.items():
        most = MOST_A_SECOND if key == "sampling_rate" else LARGEST_SIZE
        if key in (*BINS, *WINDOWS, "hop_length", "sampling_rate") and value is not None:
            if not isinstance(value, Real) or not 0 <= value <= most:
                raise ValueError(f"`{key}` of {where} must be a number from 0 to {most:,}, got {shown(value)}.")
            sizes[key] = value
    bins, window = (max(sizes.get(key, 1) for key in keys) for keys in (BINS, WINDOWS))
    milliseconds = sizes["win_length"] * sizes["sampling_rate"] / 1000  # as some take it
    if (filters := bins * max(window, milliseconds)) > MOST_FILTERS:
        raise ValueError(
            f"`{max(BINS, key=lambda key: sizes.get(key, 1))}` of {where} times its window must be at most "
            f"{MOST_FILTERS:,}, got {filters:,.0f}."
        )


def _quiet_places(samples: np.ndarray, longest: int, frame: int) -> list[int]:
    """Where to cut, each in the middle of the quietest `frame` samples in the last third of what could be a piece."""
    start, places = 0, []
    while (left := samples.shape[1] - start) > longest:
        end = start + min(longest, left - longest // 3)  # so that the last piece is no splinter
        begin = end - max((end - start) // 3, 1)
        size = max(min(frame, end - begin), 1)
        count = (end - begin) // size
        frames = samples[:, begin : begin + count * size].reshape(len(samples), count, size)
        energy = (frames**2).sum(axis=(0, 2))
        start = begin + int(np.flatnonzero(energy == energy.min())[-1]) * size + (size + 1) // 2
        places.append(start)
    return places
