"""How near composed voices are to those of the chorale, and whether they keep the rules, on held-out chorales only."""

import task
import torch
from rules import FIFTH, RANGES, by_the_rules

from regen_hf import RegenerationPipeline, Representation
from regen_hf.extractors.harmony import chords, pitch_classes
from regen_hf.outputs import concatenate
from regen_hf.scores import FIRST_PITCH, sounding


def measure(pipe: RegenerationPipeline, held: list[list[list[int]]], size: int = 8) -> dict:
    """What is composed for the melodies of held-out scores, codes `(4, steps)` each.

    Returns:
        what [`scores`] says of the whole way, as `..._true` of decode(true Y′), and as `..._disturbed` of the same
        after one code in ten was replaced; and the scores' own `corpus_parallels` and `corpus_out_of_range`.
    """
    model, modality = pipe.model, pipe.processor.target
    keeps = by_the_rules(model, modality.lowest)
    true, ways = [], {"": [], "_true": [], "_disturbed": []}

    def on_device(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: tensor.to(model.device) for name, tensor in tensors.items()}

    for start in range(0, len(held), size):
        batch = held[start : start + size]
        given, source = modality.as_target(batch), pipe.processor.source.as_source(batch)
        true.append(Representation(given["target"], given["target_mask"]))
        ways[""].append(model.generate(**on_device(source), **keeps))
        if model.config.extractor_config.target_spec != model.config.extractor_config.representation_spec:
            encoded = model.encode(**on_device(given))
            disturbed = task.disturbed_codes(encoded, model.config.extractor_config.representation_spec)
            ways["_true"].append(model.decode(encoded, **keeps.get("decoder_kwargs", {})))
            ways["_disturbed"].append(model.decode(disturbed, **keeps.get("decoder_kwargs", {})))
    true, found = concatenate(true), {}
    for name, made in ways.items():
        if made:
            longest = true.mask.shape[1]  # what is made of codes of bars may end elsewhere
            values = torch.nn.functional.pad(concatenate(made).values.cpu(), (0, longest))[..., :longest]
            found |= {f"{key}{name}": value for key, value in scores(true, values, modality.lowest).items()}
    found |= {f"corpus_{key}": value for key, value in rules(true, modality.lowest).items()}
    found = {key: round(value, 4) for key, value in found.items()}
    return found | {"heldout_count": len(held), "parameters": model.num_parameters()}


def scores(true: Representation, made: torch.Tensor, lowest: int) -> dict[str, float]:
    """What codes `(batch, voices, steps)` are worth beside the true ones.

    Returns:
        `melody_accuracy`, how often the first voice is the melody; `note_accuracy`, how often alto, tenor and
        bass sound the true pitch, and `chord_agreement`, how often all voices together make the true chord,
        over all steps; `pitch_class_overlap` and `interval_overlap`, what the histograms of the lower voices
        have in common; `parallels`, how many fifths and octaves move in parallel in 100 steps, and
        `out_of_range`, in how many of 100 steps a voice has a note that it cannot sing.
    """
    real = true.mask
    one, other = (pitch_classes(codes, lowest).sum(1) for codes in (true.values, made))
    same = sounding(made)[:, 1:] == sounding(true.values)[:, 1:]
    return {
        "melody_accuracy": (made[:, 0] == true.values[:, 0])[real].float().mean().item(),
        "note_accuracy": same.transpose(1, 2)[real].float().mean().item(),
        "chord_agreement": (chords(one) == chords(other))[real].float().mean().item(),
        "pitch_class_overlap": _overlap(*(_classes(codes, real, lowest) for codes in (true.values, made))),
        "interval_overlap": _overlap(*(_intervals(codes, real) for codes in (true.values, made))),
        **rules(Representation(made, real), lowest),
    }


def rules(score: Representation, lowest: int) -> dict[str, float]:
    """`parallels` and `out_of_range` of a score."""
    pitches = sounding(score.values) - FIRST_PITCH + lowest
    found = 0
    both = (score.mask[:, 1:] & score.mask[:, :-1])[:, None]
    sounds = pitches >= lowest
    for i in range(pitches.shape[1]):
        for j in range(i + 1, pitches.shape[1]):
            upper, lower = pitches[:, i : i + 1], pitches[:, j : j + 1]
            apart = (upper - lower) % 12
            moved = (upper[..., 1:] != upper[..., :-1]) & (lower[..., 1:] != lower[..., :-1])
            there = (sounds[:, i : i + 1] & sounds[:, j : j + 1]).unfold(2, 2, 1).all(3)
            perfect = (apart[..., 1:] == apart[..., :-1]) & ((apart[..., 1:] == 0) | (apart[..., 1:] == FIFTH))
            found += (moved & there & perfect & both).sum().item()
    low, high = torch.tensor(RANGES[1:]).T[..., None]
    lower = pitches[:, 1:]
    beyond = ((lower < low) | (lower > high)) & sounds[:, 1:] & score.mask[:, None]
    sung = max(1, (sounds[:, 1:] & score.mask[:, None]).sum().item())
    return {"parallels": 100 * found / score.mask.sum().item(), "out_of_range": 100 * beyond.sum().item() / sung}


def _classes(codes: torch.Tensor, real: torch.Tensor, lowest: int) -> torch.Tensor:
    return (pitch_classes(codes[:, 1:], lowest) * real[:, None, :, None]).sum((1, 2))


def _intervals(codes: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """How often each step from note to note is made in the lower voices, from an octave down to one up."""
    pitches = sounding(codes)[:, 1:]
    steps = pitches[..., 1:] - pitches[..., :-1]
    counts = (pitches[..., 1:] >= FIRST_PITCH) & (pitches[..., :-1] >= FIRST_PITCH) & real[:, None, 1:] & (steps != 0)
    return torch.stack([((steps == size) & counts).sum((1, 2)) for size in range(-12, 13)], dim=1).float()


def _overlap(one: torch.Tensor, other: torch.Tensor) -> float:
    shares = [each / each.sum(1, keepdim=True).clamp(min=1) for each in (one, other)]
    return torch.minimum(*shares).sum(1).mean().item()
