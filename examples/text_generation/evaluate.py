"""How near generated sentences are to the true ones, on held-out functions only."""

import sacrebleu
import task
import torch
from rouge_score.rouge_scorer import RougeScorer

from regen_hf import RegenerationPipeline, TextModality


def measure(pipe: RegenerationPipeline, held, source_column: str, target_column: str) -> tuple[dict, list[str]]:
    """What is written, and what the way over Y′ costs.

    Args:
        held: the held-out rows.

    Returns:
        `chrf` (Popović, 2015) and `rouge_l` (Lin, 2004, F1, the mean over sentences), both from 0 to 100. Where Y′ is
        not Y, also `..._true`, of decode(true Y′), and `..._disturbed`, of the same after one code in ten was replaced.
        And what was written, for each row.
    """
    target, model = pipe.processor.target, pipe.model
    given = target.as_target(held[target_column])
    true = _read_back(target, given)
    written = [row["text"] for row in pipe(held[source_column], batch_size=32)]
    metrics = scores(true, written)
    extractor = model.config.extractor_config
    if extractor.target_spec != extractor.representation_spec or model.decoder_model is not None:
        encoded = model.encode(**{name: value.to(model.device) for name, value in given.items()})
        for name, each in {
            "true": encoded,
            "disturbed": task.perturbed_codes(encoded, extractor.representation_spec),
        }.items():
            metrics |= {f"{key}_{name}": value for key, value in scores(true, task.decoded_texts(pipe, each)).items()}
    return metrics | {"heldout_count": len(held), "parameters": model.num_parameters()}, written


def of_names(target: TextModality, held, source_column: str, target_column: str) -> dict[str, float]:
    """What a function's name is worth by itself, written as a sentence: `name_chrf` and `name_rouge_l`."""
    names = [signature.partition(" (")[0].removeprefix("def ") for signature in held[source_column]]
    found = scores(_read_back(target, target.as_target(held[target_column])), names)
    return {f"name_{name}": value for name, value in found.items()}


def _read_back(target: TextModality, given: dict[str, torch.Tensor]) -> list[str]:
    """Texts as the tokens that are learned have them, perhaps in lower case."""
    return [row["text"] for row in target.from_target(given["target"], given["target_mask"])]


def scores(true: list[str], written: list[str]) -> dict[str, float]:
    """`chrf` and `rouge_l`."""
    scorer = RougeScorer(["rougeL"])
    found = [scorer.score(a, b)["rougeL"].fmeasure for a, b in zip(true, written, strict=True)]
    chrf = sacrebleu.corpus_chrf(written, [true]).score
    return {"chrf": round(chrf, 2), "rouge_l": round(100 * sum(found) / len(found), 2)}
