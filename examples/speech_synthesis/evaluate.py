"""How well generated speech can be understood, on held-out sentences only."""

from pathlib import Path

import jiwer
import numpy as np
import torch

from regen_hf import LogMelExtractor, RegenerationPipeline, Representation


def measure(pipe: RegenerationPipeline, held, recogniser: RegenerationPipeline) -> tuple[dict, list[dict]]:
    """What an independent recogniser reads in true and in generated speech, and what the way over Y′ costs.

    Args:
        held: the held-out rows.
        recogniser: trained on true speech.

    Returns:
        `cer_true_audio`, `cer_reconstructed`, of decode(true Y′), `cer_disturbed`, of the same after Y′ was perturbed
        (spectrograms: noise of 0.3 standard deviations; codes: one in ten replaced), and `cer_generated`: character
        error rates, all errors over all characters. `mel_distance`: the mean absolute difference of the log-mel
        spectrograms, to the base of 10, of true speech and decode(true Y′). `length_ratio`: how much longer all
        generated speech is than all true speech. And the generated speech.
    """
    audio, model, written = pipe.processor.target, pipe.model, recogniser.processor.target
    given = written.as_target(held["text"])
    said = [row["text"] for row in written.from_target(given["target"], given["target_mask"])]  # as it can be heard
    target = audio.as_target(held["audio"])
    true = audio.from_target(target["target"], target["target_mask"])
    encoded = [_encoded(pipe, wave) for wave in true]
    rebuilt = [_decoded(pipe, each) for each in encoded]
    generator = torch.Generator().manual_seed(0)
    spec = model.config.extractor_config.representation_spec
    perturbed = [_decoded(pipe, _perturbed(each, spec, generator)) for each in encoded]
    made = pipe(held["source"], batch_size=16, generator=torch.Generator().manual_seed(0))

    def cer(waves: list[dict]) -> float:
        heard = recogniser([{"array": w["audio"], "sampling_rate": w["sampling_rate"]} for w in waves], batch_size=16)
        return round(jiwer.cer(said, [row["text"] for row in heard]), 4)

    metrics = {
        "cer_true_audio": cer(true),
        "cer_reconstructed": cer(rebuilt),
        "cer_disturbed": cer(perturbed),
        "cer_generated": cer(made),
        "mel_distance": round(float(np.mean([_distance(a, b) for a, b in zip(true, rebuilt, strict=True)])), 4),
        "length_ratio": round(sum(len(w["audio"]) for w in made) / sum(len(w["audio"]) for w in true), 3),
        "heldout_count": len(held),
        "parameters": model.num_parameters(),
    }
    return metrics, made


@torch.no_grad()
def _encoded(pipe: RegenerationPipeline, wave: dict) -> Representation:
    return pipe.model.encode(torch.from_numpy(wave["audio"]).view(1, 1, -1).to(pipe.model.device))


def _decoded(pipe: RegenerationPipeline, representation: Representation) -> dict:
    return pipe.processor.target.from_target(pipe.model.decode(representation).values)[0]


def _perturbed(encoded: Representation, spec, generator: torch.Generator) -> Representation:
    values = encoded.values
    if spec.num_codes is not None:
        other = torch.randint(spec.num_codes, values.shape, generator=generator).to(values.device)
        replaced = torch.rand(values.shape, generator=generator).to(values.device) < 0.1
        return Representation(torch.where(replaced, other, values))
    noise = torch.randn(values.shape, generator=generator).to(values.device)
    return Representation(values + 0.3 * values.std(dim=-1, keepdim=True) * noise)


def spectrogram(wave: np.ndarray, rate: int) -> torch.Tensor:
    """`(80, frames)`, log-mel to the base of 10."""
    rule = LogMelExtractor.from_components(mel_floor=1e-5, sampling_rate=rate)
    return rule.encode(torch.from_numpy(wave).view(1, 1, -1)).values[0]


def _distance(one: dict, other: dict) -> float:
    length = min(len(one["audio"]), len(other["audio"]))
    shown = [spectrogram(each["audio"][:length], each["sampling_rate"]) for each in (one, other)]
    return (shown[0] - shown[1]).abs().mean().item()


def plot_speech(pipe: RegenerationPipeline, held, made: list[dict], path: Path) -> None:
    """Spectrograms of true and of generated speech, with the predicted durations where there are any."""
    from matplotlib.figure import Figure

    rows = held.select(range(min(4, len(held))))
    audio = pipe.processor.target
    figure = Figure(figsize=(15, 3.2 * len(rows)), layout="constrained")
    for row, spoken, axes in zip(rows, made, figure.subplots(len(rows), 2, squeeze=False), strict=False):
        true = audio.from_target(audio.as_target([row["audio"]])["target"])[0]
        for axis, wave, title in zip(axes, (true, spoken), ("true", "generated"), strict=True):
            axis.imshow(spectrogram(wave["audio"], wave["sampling_rate"]).numpy(), origin="lower", aspect="auto")
            axis.set(title=f"{title}: {row['text']} ({row['voice']})", xlabel="frame", ylabel="mel bin")
        if hasattr(pipe.model.prior, "durations"):
            source = pipe.processor(source=[row["source"]]).to(pipe.model.device)
            ends = pipe.model.prior.durations(**source)[0].cumsum(0).tolist()
            said = [pipe.processor.source.parts["text"].phonemes[i] for i in source["input_ids"][0].tolist()]
            for start, end, phoneme in zip([0, *ends], ends, said, strict=False):
                if end > start:
                    axes[1].axvline(end, color="white", linewidth=0.5)
                    axes[1].text((start + end) / 2, 76, phoneme, color="white", ha="center", va="top", fontsize=8)
    figure.savefig(path, dpi=80)
