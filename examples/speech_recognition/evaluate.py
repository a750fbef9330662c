"""How well speech is read, on held-out sentences only."""

from pathlib import Path

import jiwer
import task
import torch

from regen_hf import RegenerationModel, RegenerationPipeline

HYPOTHESES = 4


def measure(pipe: RegenerationPipeline, held, audio_column: str, text_column: str) -> tuple[dict, list[str]]:
    """Error rates of what is heard, and what the way over Y′ costs.

    Args:
        held: the held-out rows.

    Returns:
        `wer` and `cer`: word and character error rate, all errors over all that was said. Where Y′ is not Y, also
        `wer_first`, of the prior's best hypothesis alone; `representation_error_rate`, of predicted Y′; `wer_true`,
        of decode(true Y′); `wer_disturbed`, of the same after one code in ten was replaced. And what was read, for each
        row.
    """
    target, model = pipe.processor.target, pipe.model
    given = target.as_target(held[text_column])
    said = [row["text"] for row in target.from_target(given["target"], given["target_mask"])]  # perhaps in lower case
    heard = [row["text"] for row in pipe(held[audio_column], batch_size=32, **_search(model))]
    metrics = error_rates(said, heard)
    if model.config.extractor_config.target_spec != model.config.extractor_config.representation_spec:
        first = pipe(held[audio_column], batch_size=32, return_representation=True)
        metrics["wer_first"] = error_rates(said, [row["text"] for row in first])["wer"]
        true = model.encode(**{name: value.to(model.device) for name, value in given.items()})
        codes = [row[own].tolist() for row, own in zip(true.values, true.mask, strict=True)]
        metrics["representation_error_rate"] = _errors(codes, [_joined(row["representation"]) for row in first])
        metrics["wer_true"] = error_rates(said, task.decoded_texts(pipe, true))["wer"]
        perturbed = task.perturbed_codes(true, model.config.extractor_config.representation_spec)
        metrics["wer_disturbed"] = error_rates(said, task.decoded_texts(pipe, perturbed))["wer"]
    return metrics | {"heldout_count": len(held), "parameters": model.num_parameters()}, heard


def _joined(representation: torch.Tensor | list[torch.Tensor]) -> list[int]:
    """The codes of all pieces of a long audio."""
    pieces = representation if isinstance(representation, list) else [representation]
    return [code for piece in pieces for code in piece.tolist()]


def _search(model: RegenerationModel) -> dict:
    return {} if model.decoder_model is None else {"num_hypotheses": HYPOTHESES}


def error_rates(said: list[str], heard: list[str]) -> dict[str, float]:
    """`wer` and `cer`."""
    return {"wer": round(jiwer.wer(said, heard), 4), "cer": round(jiwer.cer(said, heard), 4)}


def _errors(true: list[list[int]], found: list[list[int]]) -> float:
    """The edits that lead from one to the other, over the length of the true ones."""
    spelled = [[" ".join(map(str, row)) for row in rows] for rows in (true, found)]
    return round(jiwer.wer(*spelled), 4)


def plot_alignment(pipe: RegenerationPipeline, held, audio_column: str, text_column: str, path: Path) -> None:
    """Spectrograms of some held-out rows, and below each where the prior hears which code."""
    from matplotlib.figure import Figure

    rows = held.select(range(min(3, len(held))))
    figure = Figure(figsize=(15, 4 * len(rows)), layout="constrained")
    for row, axes in zip(rows, figure.subplots(len(rows), 2, squeeze=False), strict=True):
        piece = pipe.processor.source.pieces(row[audio_column])[0]
        batch = pipe.processor(source=[piece]).to(pipe.model.device)
        features = batch.get("input_features", batch.get("input_values"))[0].float().cpu()
        if features.ndim > 1:
            axes[0].imshow(features.T.numpy(), origin="lower", aspect="auto")
        else:
            axes[0].plot(features, linewidth=0.5)
        with torch.no_grad():
            log_probs, mask = pipe.model.prior.log_probs(**batch)
        axes[1].imshow(log_probs[0, mask[0]].T.exp().cpu().numpy(), aspect="auto", interpolation="nearest")
        axes[0].set(title=row[text_column], xlabel="frame", ylabel="mel bin")
        axes[1].set(title="what the prior hears", xlabel="place", ylabel="code; the blank is last")
    figure.savefig(path, dpi=80)
