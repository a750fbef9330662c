"""What generators of waves from frames share: pieces to train on, and how far a wave is from the true one."""

import torch

from ...parts.contracts import PreTrainedGenerator
from ...parts.generation import Randomness, generates, learns
from ...parts.lengths import random_segments
from ...parts.outputs import LossOutput, Representation
from ...speech.spectral import distance, log_mel, spectral_distance

LONGEST_HOP = 256
"""The mels of the loss are no further apart, so that no sample of a longer frame is left out."""


def check_segment_frames(segment_frames: int | None) -> None:
    if segment_frames is not None and segment_frames < 1:
        raise ValueError(f"`segment_frames` must be at least 1, or None, got {segment_frames}.")


def check_mels(source: torch.Tensor | None, num_mels: int) -> None:
    if source is None:
        raise ValueError("`source` is missing: waves are made of log-mel spectrograms.")
    if source.ndim != 3 or source.shape[1] != num_mels:
        raise ValueError(
            f"`source` must have the shape (batch, {num_mels} mel bins, frames), got {tuple(source.shape)}."
        )


class WaveGenerator(PreTrainedGenerator):
    """Makes a wave `(1, samples)` of frames, as many samples of each as `config.hop_length` says.

    A subclass says how in `_waves`, and in `_check` which frames it takes.
    """

    @learns
    def forward(
        self,
        target: torch.Tensor,
        source: torch.Tensor | None = None,
        source_mask: torch.Tensor | None = None,
        target_mask: torch.Tensor | None = None,
    ) -> LossOutput:
        """How far the wave is from the true one: in their log-mels, and in log magnitudes at several resolutions.

        Args:
            target: `(batch, 1, samples)`.
            source: frames, `(batch, ..., frames)`.
            source_mask, target_mask: `(batch, frames)` and `(batch, samples)`; padding does not count.

        In training with `segment_frames`, loss and reconstruction are those of the pieces.
        """
        self._check(source)
        if target.ndim != 3 or target.shape[1] != 1:
            raise ValueError(f"`target` must have the shape (batch, 1, samples), got {tuple(target.shape)}.")
        if self.training and self.config.segment_frames is not None:
            source, source_mask, target, target_mask = self._segments(source, source_mask, target, target_mask)
        made = self._waves(source, source_mask, None)
        length = min(made.values.shape[-1], target.shape[-1])
        generated, true = made.values[..., :length].float(), target[..., :length].float()
        masks = [mask[:, :length] for mask in (made.mask, target_mask) if mask is not None]
        mask = torch.stack(masks).all(0) if masks else None
        hop = min(self.config.hop_length, LONGEST_HOP)

        def mel(wave: torch.Tensor) -> torch.Tensor:
            return log_mel(wave, self.config.sampling_rate, self.config.num_mels, hop_length=hop)

        terms = {
            "mel": distance(mel, generated, true, mask, hop),
            "spectral": spectral_distance(generated, true, mask),
        }
        return LossOutput.of(terms, reconstruction=generated)

    def _segments(
        self, source: torch.Tensor, source_mask: torch.Tensor | None, target: torch.Tensor, target_mask
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor, torch.Tensor]:
        """A random piece of each row of source and target, each with its mask, `None` where all frames are real."""
        hop = self.config.hop_length
        frames, wave = random_segments(
            self.config.segment_frames,
            (Representation(source, source_mask), 1),
            (Representation(target, target_mask), hop),
        )
        mask = wave.mask & frames.mask.repeat_interleave(hop, dim=-1)
        return frames.values, None if frames.mask.all() else frames.mask, wave.values, mask

    @generates
    def generate(
        self,
        source: torch.Tensor | None = None,
        source_mask: torch.Tensor | None = None,
        *,
        generator: Randomness | None = None,
    ) -> Representation:
        """
        Args:
            source: frames, `(batch, ..., frames)`.
            source_mask: `(batch, frames)`, true where they are real.
            generator: gives the same waves for the same frames, for what starts from noise.
        """
        self._check(source)
        return self._waves(source, source_mask, generator)
