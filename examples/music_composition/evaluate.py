"""How near generated voices are to those of the chorale, and whether they keep the rules, on held-out chorales only."""

import task
import torch
from rules import FIFTH, RANGES, by_the_rules

from regen_hf import HarmonyExtractor, RegenerationPipeline, Representation
from regen_hf.extractors.rules.harmony import BOOKS, chords, pitch_classes
from regen_hf.modalities.score_codes import FIRST_PITCH, sounding
from regen_hf.parts.outputs import concatenate


def measure(pipe: RegenerationPipeline, held, column: str, size: int = 8) -> dict:
    """What is composed for held-out scores, out of their melodies or their forms.

    Args:
        held: rows with the `score`, codes `(4, steps)`, and the `form`.
        column: of the two that which is X.

    Returns:
        what [`scores`] finds for generate(X), with the suffix `_true` for decode(true Y′), and with `_disturbed` for
        the same after one code in ten was replaced; and the true scores' own `corpus_parallels` and
        `corpus_out_of_range`.
    """
    model, modality = pipe.model, pipe.processor.target
    keeps = by_the_rules(model, modality.lowest)
    true, ways = [], {"": [], "_true": [], "_disturbed": []}

    def on_device(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: tensor.to(model.device) for name, tensor in tensors.items()}

    generator = torch.Generator().manual_seed(0)
    for start in range(0, len(held), size):
        batch = held[start : start + size]
        given, source = modality.as_target(batch["score"]), pipe.processor.source.as_source(batch[column])
        true.append(Representation(given["target"], given["target_mask"]))
        ways[""].append(model.generate(**on_device(source), generator=generator, **keeps))
        if model.config.extractor_config.target_spec != model.config.extractor_config.representation_spec:
            encoded = model.encode(**on_device(given))
            perturbed = task.perturbed_codes(encoded, model.config.extractor_config.representation_spec)
            ways["_true"].append(model.decode(encoded, **keeps.get("decoder_kwargs", {})))
            ways["_disturbed"].append(model.decode(perturbed, **keeps.get("decoder_kwargs", {})))
    true, found = concatenate(true), {}
    for name, made in ways.items():
        if made:
            made = concatenate([Representation(each.values.cpu(), each.mask.cpu()) for each in made])
            found |= {f"{key}{name}": value for key, value in scores(true, made, modality.lowest).items()}
    found |= {f"corpus_{key}": value for key, value in rules(true, modality.lowest).items()}
    found = {key: round(value, 4) for key, value in found.items()}
    return found | {"heldout_count": len(held), "parameters": model.num_parameters()}


def scores(true: Representation, made: Representation, lowest: int) -> dict[str, float]:
    """How generated scores compare with the true ones, both codes `(batch, voices, steps)`.

    Returns:
        `melody_accuracy`, how often the first voice is the melody; `note_accuracy`, how often alto, tenor and
        bass sound the true pitch, and `chord_agreement`, how often all voices together make the true chord,
        over all steps of the true one; `key_agreement`, how often the key is the same, and `length_error`, by how many
        steps the lengths differ; `pitch_class_overlap` and `interval_overlap`, what the histograms of the lower voices
        have in common; `parallels`, how many fifths and octaves move in parallel in 100 steps, and
        `out_of_range`, in how many of 100 steps a voice has a note that it cannot sing.
    """
    real, missing = true.mask, true.mask.shape[1] - made.mask.shape[1]
    padded, there = (torch.nn.functional.pad(each, (0, missing)) for each in (made.values, made.mask))
    one, other = (pitch_classes(codes, lowest).sum(1) for codes in (true.values, padded))
    same = (sounding(padded)[:, 1:] == sounding(true.values)[:, 1:]) & there[:, None]
    harmony = [HarmonyExtractor.from_components().encode(each.values, each.mask).values for each in (true, made)]
    keys = [each[:, BOOKS.index("key"), 0] for each in harmony]
    return {
        "melody_accuracy": ((padded[:, 0] == true.values[:, 0]) & there)[real].float().mean().item(),
        "note_accuracy": same.transpose(1, 2)[real].float().mean().item(),
        "chord_agreement": ((chords(one) == chords(other)) & there)[real].float().mean().item(),
        "key_agreement": (keys[0] == keys[1]).float().mean().item(),
        "length_error": (true.mask.sum(1) - made.mask.sum(1)).abs().float().mean().item(),
        "pitch_class_overlap": _overlap(*(_classes(each, lowest) for each in (true, made))),
        "interval_overlap": _overlap(*(_intervals(each) for each in (true, made))),
        **rules(made, lowest),
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


def _classes(score: Representation, lowest: int) -> torch.Tensor:
    return (pitch_classes(score.values[:, 1:], lowest) * score.mask[:, None, :, None]).sum((1, 2))


def _intervals(score: Representation) -> torch.Tensor:
    """How often each step from note to note is made in the lower voices, from an octave down to one up."""
    pitches = sounding(score.values)[:, 1:]
    steps = pitches[..., 1:] - pitches[..., :-1]
    sung = (pitches[..., 1:] >= FIRST_PITCH) & (pitches[..., :-1] >= FIRST_PITCH) & (steps != 0)
    counts = sung & score.mask[:, None, 1:]
    return torch.stack([((steps == size) & counts).sum((1, 2)) for size in range(-12, 13)], dim=1).float()


def _overlap(one: torch.Tensor, other: torch.Tensor) -> float:
    shares = [each / each.sum(1, keepdim=True).clamp(min=1) for each in (one, other)]
    return torch.minimum(*shares).sum(1).mean().item()
