"""Trains a recogniser from nothing that goes from speech by way of phonemes to text, and measures it.

python examples/speech_recognition/run.py                              # about 12 minutes on 2 CPU cores
python examples/speech_recognition/run.py --representation text_codes  # another Y′, by one argument
python examples/speech_recognition/run.py --dataset FOLDER_OR_HUB_NAME --audio-encoder facebook/wav2vec2-base
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import comparison
import task
import torch
from evaluate import error_rates, measure, plot_alignment
from models import REPRESENTATIONS, pretrained
from speech_data import LONGEST, RATE, VOICES, pronounceable, sentences, spoken
from transformers import AutoFeatureExtractor, ParakeetFeatureExtractor

from regen_hf import (
    AudioModality,
    RegenerationPipeline,
    RegenerationProcessor,
    TextModality,
    check_columns,
    check_texts,
    readable_examples,
)

STEPS = {
    "phonemes": {"prior": 700, "decoder": 700},
    "sequence": {"prior": 600, "decoder": 700},
    "text_codes": {"extractor": 900, "prior": 900},
    "identity": {"prior": 1800},
}
SHARED = {"learning_rate": 4e-3, "optimizer": "muon", "beta2": 0.98, "warmup_steps": 80, "group_by_length": True}
RECIPES = {
    "extractor": {**SHARED, "batch_size": 64, "group_by_length": False},
    "prior": {**SHARED, "batch_size": 16},
    "decoder": {**SHARED, "batch_size": 64, "predicted": 0.5},
}
VOCABULARY_SIZE = 1000
TRIAL = 60  # steps of the end-to-end baseline that are timed, to find how many fit into its time


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = task.make_parser(__doc__, "outputs/speech_recognition", REPRESENTATIONS, "phonemes")
    parser.add_argument("--pairs", type=task.at_least(1), default=1000, help="how many utterances have their text")
    parser.add_argument("--unpaired", type=task.at_least(0), default=12000, help="how many further texts there are")
    parser.add_argument(
        "--heldout", type=task.at_least(1), default=300, help="how many held-out utterances to measure on"
    )
    parser.add_argument("--text-column", default="text", help="its column of texts")
    parser.add_argument("--audio-column", default="audio", help="its column of audio")
    parser.add_argument("--language", default="en-us", help="of the phonemes, as espeak-ng names it")
    parser.add_argument("--audio-encoder", help="a pretrained encoder by Hub name or folder, instead of a new one")
    comparison.add_option(parser)
    return parser.parse_args(argv)


def load_data(options: argparse.Namespace):
    """Pairs, further texts, and held-out pairs, as datasets."""
    from datasets import Dataset

    if options.dataset:
        everything = task.named_dataset(options.dataset, options.dataset_split, options.audio_column)
        check_columns(everything, [options.text_column, options.audio_column])
        everything = readable_examples(everything, {options.text_column: check_texts}, options.on_bad_example)
        texts = list(everything[options.text_column])
        trained, held = task.split_by_text(texts)
        pairs, held = everything.select(trained[: options.pairs]), everything.select(held[: options.heldout])
        further = [texts[i] for i in trained[options.pairs :][: options.unpaired]]
    else:
        texts, cache = sentences(25_000), Path("outputs/speech_data")
        trained, held = ([texts[i] for i in part] for part in task.split_by_text(texts))
        pairs, held = (spoken(part, VOICES, cache) for part in (trained[: options.pairs], held[: options.heldout]))
        further = trained[options.pairs :][: options.unpaired]
    if not len(pairs) or not len(held):
        raise ValueError(f"{len(pairs)} pairs and {len(held)} held-out ones are too few: one text in ten is held out.")
    bad, audio = options.on_bad_example, AudioModality(RATE)
    pairs, held = (audio.prepare_column(each, options.audio_column) for each in (pairs, held))
    further = Dataset.from_dict({options.text_column: further})
    pairs, further, held = (
        pronounceable(each, options.text_column, options.language, bad) for each in (pairs, further, held)
    )
    held = readable_examples(held, {options.audio_column: audio.as_target}, bad)
    return pairs, further, held


def processor_of(options: argparse.Namespace, texts: list[str], representation: str) -> RegenerationProcessor:
    """Of speech and text: letters for the end-to-end baseline, and subword tokens else."""
    hear = ParakeetFeatureExtractor(feature_size=80)
    if options.audio_encoder:
        hear = AutoFeatureExtractor.from_pretrained(options.audio_encoder, trust_remote_code=False)
    if representation == "identity":
        text = TextModality.from_pieces(texts)
    else:
        text = TextModality.from_pieces(texts, VOCABULARY_SIZE, max_length=120)
    return RegenerationProcessor(AudioModality(RATE, feature_extractor=hear, max_seconds=LONGEST), text)


def train_and_measure(
    options: argparse.Namespace, folder: Path, data, representation: str, steps: dict[str, int], **sizes
) -> dict:
    """One recogniser from nothing; returns its metrics."""
    pairs, further, held = data
    texts = [*pairs[options.text_column], *further[options.text_column]]
    processor = processor_of(options, texts, representation)
    torch.manual_seed(options.seed)
    audio = pretrained(options.audio_encoder) if options.audio_encoder else None
    model = REPRESENTATIONS[representation](processor.target, texts, audio, options.language, **sizes)
    unpaired = further if len(further) and set(steps) & {"extractor", "decoder"} else None
    spent = task.train(
        options,
        model,
        processor,
        pairs,
        folder,
        task.stage_arguments(RECIPES, steps, options.seed),
        source_column=options.audio_column,
        target_column=options.text_column,
        unpaired=unpaired,
        samples=[each for each in held[options.audio_column][:8] if len(processor.source.pieces(each)) == 1],
        on_bad_example=options.on_bad_example,
    )

    def measure_and_show(pipe: RegenerationPipeline) -> dict:
        metrics, heard = measure(pipe, held, options.audio_column, options.text_column)
        write_samples(pipe, held, heard, options, folder)
        return metrics | {"pairs": len(pairs), "unpaired": len(unpaired or [])}

    metrics = task.evaluate(folder, measure_and_show, spent)
    task.describe(
        options,
        folder,
        metrics,
        title=f"Speech to text by way of {representation}",
        description=f"Trained from nothing on {len(pairs):,} utterances of "
        f"{options.dataset or 'espeak-ng in several voices'} and {len(unpaired or []):,} further texts. "
        "One sentence in ten was held out.",
        example="speech.wav",
        pipeline_tag="automatic-speech-recognition",
    )
    return metrics


def write_samples(pipe, held, heard: list[str], options: argparse.Namespace, folder: Path) -> None:
    """What was said and heard, the first of it as audio, and where the prior heard what."""
    said = list(held[options.text_column])
    lines = [f"{a}\t{b}\t{error_rates([a], [b])['wer']}\n" for a, b in zip(said, heard, strict=True)]
    (folder / "samples.tsv").write_text("said\theard\twer\n" + "".join(lines), encoding="utf-8")
    audio = AudioModality(RATE)
    waves = audio.as_target(held[options.audio_column][:8])
    audio.save_samples(audio.from_target(waves["target"], waves["target_mask"]), said[:8], folder / "heldout.wav")
    if hasattr(pipe.model.prior, "log_probs"):
        plot_alignment(pipe, held, options.audio_column, options.text_column, folder / "alignment.png")


def baseline(options: argparse.Namespace, data, parameters: int) -> dict[str, int]:
    """How wide five layers are that make the end-to-end baseline, from speech to letters, about as large."""
    text = TextModality.from_pieces([*data[0][options.text_column], *data[1][options.text_column]])

    def count(width: int) -> int:
        return REPRESENTATIONS["identity"](text, [], width=width, layers=5).num_parameters()

    return {"width": comparison.same_size(count, range(128, 321, 8), parameters), "layers": 5}


def main(argv: list[str] | None = None) -> None:
    options = parse_arguments(argv)
    if options.compare and options.audio_encoder:
        raise ValueError(
            "`--compare` makes an end-to-end baseline of the same size, which `--audio-encoder` leaves no room for."
        )
    task.run(options, load_data, train_and_measure, baseline, STEPS[options.representation], TRIAL)
    print(f"look at {options.output / 'samples.tsv'}, {options.output / 'alignment.png'} and curves.png")


if __name__ == "__main__":
    task.end_with(main)
