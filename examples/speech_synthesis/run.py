"""Trains a synthesiser from nothing that goes from text by way of log-mel spectrograms to speech, and measures it.

python examples/speech_synthesis/run.py                                # by a learned vocoder
python examples/speech_synthesis/run.py --representation codes         # another Y′, by one argument
python examples/speech_synthesis/run.py --dataset FOLDER_OR_HUB_NAME --vocoder microsoft/speecht5_hifigan
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import task
import torch
from evaluate import measure, plot_speech
from models import REPRESENTATIONS
from speech_data import LONGEST, RATE, VOICES, pronounceable, sentences, spoken
from transformers import pipeline
from transformers.utils import logging

from regen_hf import (
    AudioModality,
    CombinedModality,
    LabelModality,
    PhonemeModality,
    RegenerationModel,
    RegenerationPipeline,
    RegenerationProcessor,
    StageArguments,
    check_columns,
    check_texts,
    readable_examples,
)

STEPS = {
    "mel": {"prior": 700, "decoder": 350},
    "griffin_lim": {"prior": 850},
    "codes": {"extractor": 500, "prior": 900},
}
SHARED = {"learning_rate": 3e-3, "optimizer": "muon", "beta2": 0.98, "warmup_steps": 80}
RECIPES = {
    "extractor": {"learning_rate": 1e-3, "beta2": 0.99, "warmup_steps": 50, "batch_size": 16},
    "prior": {**SHARED, "batch_size": 32, "group_by_length": True},
    "decoder": {**SHARED, "batch_size": 16},
}
RECOGNISER_SCALE = 0.3  # of the steps of the recogniser's own run


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = task.make_parser(__doc__, "outputs/speech_synthesis", REPRESENTATIONS, "mel")
    parser.add_argument("--pairs", type=task.at_least(1), default=6000, help="how many utterances to learn from")
    parser.add_argument("--voices", type=int, default=4, choices=range(1, len(VOICES) + 1), help="of espeak-ng")
    parser.add_argument(
        "--heldout", type=task.at_least(1), default=200, help="how many held-out sentences to measure on"
    )
    parser.add_argument("--text-column", default="text", help="its column of texts")
    parser.add_argument("--audio-column", default="audio", help="its column of audio")
    parser.add_argument("--voice-column", help="its column of voices, where there are several")
    parser.add_argument("--language", default="en-us", help="of the phonemes, as espeak-ng names it")
    parser.add_argument("--vocoder", help="a pretrained vocoder by Hub name or folder, instead of a new one")
    parser.add_argument("--codec", help="a pretrained codec by Hub name or folder, instead of a new one")
    parser.add_argument("--recogniser", type=Path, help="folder of a recogniser, instead of a new one")
    return parser.parse_args(argv)


def check_parts(options: argparse.Namespace) -> None:
    for name, taken_by in {"vocoder": "mel", "codec": "codes"}.items():
        if getattr(options, name) and options.representation != taken_by:
            raise ValueError(f"`--{name}` is for `--representation {taken_by}`, not {options.representation}.")
    if options.recogniser and not (options.recogniser / "config.json").is_file():
        raise ValueError(f"`--recogniser` must be the folder of a model, but {options.recogniser} has no config.json.")


def load_data(options: argparse.Namespace):
    """Training and held-out rows: `text`, `voice`, `audio`, and `source`, which is the first two."""
    if options.dataset:
        data = task.named_dataset(options.dataset, options.dataset_split, options.audio_column)
        named = {options.text_column: "text", options.audio_column: "audio"}
        named |= {options.voice_column: "voice"} if options.voice_column else {}
        check_columns(data, list(named))
        data = data.select_columns(list(named)).rename_columns({k: v for k, v in named.items() if k != v})
        if not options.voice_column:
            data = data.add_column("voice", ["the voice"] * len(data))
        data = readable_examples(data, {"text": check_texts}, options.on_bad_example)
        trained, held = task.split_by_text(data["text"])
        parts = data.select(trained[: options.pairs]), data.select(held[: options.heldout])
    else:
        texts, voices = sentences(25_000), VOICES[: options.voices]
        trained, held = ([texts[i] for i in part] for part in task.split_by_text(texts))
        trained, held = trained[: options.pairs], held[: options.heldout]
        parts = (spoken(each, voices, Path("outputs/speech_data")) for each in (trained, held))

    def joined(rows: dict) -> dict:
        return {"source": [{"text": a, "voice": b} for a, b in zip(rows["text"], rows["voice"], strict=True)]}

    parts = list(parts)
    if not all(map(len, parts)):
        sizes = f"{len(parts[0])} utterances to learn from and {len(parts[1])} held-out ones"
        raise ValueError(f"{sizes} are too few: one text in ten is held out.")
    audio, bad = AudioModality(RATE, max_seconds=LONGEST), options.on_bad_example  # as the recogniser has it
    parts = [audio.prepare_column(part, "audio") for part in parts]
    parts = [pronounceable(part, "text", options.language, bad) for part in parts]
    parts = [readable_examples(part, {"audio": audio.as_target}, bad) for part in parts]
    return [part.map(joined, batched=True, desc="text and voice") for part in parts]


def load_recogniser(options: argparse.Namespace):
    """An independent listener, trained on true speech only, by the example of recognition."""
    folder = options.recogniser
    if folder is None:
        folder = options.output / "recogniser"
        script = Path(__file__).parents[1] / "speech_recognition" / "run.py"
        asked = {"representation": "identity", "pairs": 4000, "unpaired": 0, "heldout": 50, "output": folder}
        asked |= {"scale": RECOGNISER_SCALE * options.scale, "language": options.language, "seed": options.seed}
        if options.dataset:
            asked |= {"dataset": options.dataset, "dataset-split": options.dataset_split}
            asked |= {"text-column": options.text_column, "audio-column": options.audio_column}
        command = [sys.executable, script, *(f"--{name}={value}" for name, value in asked.items())]
        said = [f"--{name}" for name in ("resume", "overwrite") if getattr(options, name)]
        _run([*command, f"--on-bad-example={options.on_bad_example}", *said])
        folder = folder / "model"
    return pipeline("regeneration", model=str(folder))


def _run(command: list) -> None:
    """Runs a command that saves what it has when it is interrupted, as this one is then, and gives it the time to."""
    process = subprocess.Popen(command)
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise
    if code:
        raise ValueError(f"the recogniser could not be trained: {command[1]} ended with {code}.")


def stages(options: argparse.Namespace) -> dict[str, StageArguments]:
    """What each stage is trained with, but for parts that have learned already."""
    named = {"decoder": options.vocoder, "extractor": options.codec}
    steps = {stage: count for stage, count in STEPS[options.representation].items() if not named.get(stage)}
    return task.stage_arguments(RECIPES, task.scaled(steps, options.scale), options.seed)


def build(options: argparse.Namespace, trained, held) -> tuple[RegenerationModel, RegenerationProcessor]:
    """From nothing, but for parts that have learned already."""
    text = PhonemeModality.from_texts([*trained["text"], *held["text"]], language=options.language)
    voices = sorted({*trained["voice"], *held["voice"]})
    source = CombinedModality(text=text, voice=LabelModality(voices))
    torch.manual_seed(options.seed)
    model = REPRESENTATIONS[options.representation](text, len(voices), options.vocoder, options.codec)
    rate = model.config.extractor_config.target_spec.rate  # a codec by name may have another
    return model, RegenerationProcessor(source, AudioModality(int(rate)))


def train_and_measure(options: argparse.Namespace, trained, held) -> dict:
    """One synthesiser, and a recogniser to measure it by; returns its metrics."""
    model, processor = build(options, trained, held)
    spent = task.train(
        options,
        model,
        processor,
        trained,
        options.output,
        stages(options),
        source_column="source",
        target_column="audio",
        samples=held["source"][:4],
    )
    recogniser = load_recogniser(options)

    def measure_and_show(pipe: RegenerationPipeline) -> dict:
        metrics, made = measure(pipe, held, recogniser)
        processor.target.save_samples(made[:16], held["text"][:16], options.output / "samples.wav")
        plot_speech(pipe, held, made, options.output / "samples.png")
        return metrics

    return task.evaluate(options.output, measure_and_show, spent)


def main(argv: list[str] | None = None) -> None:
    options = parse_arguments(argv)
    check_parts(options)
    started = time.perf_counter()
    logging.disable_progress_bar()
    task.begin(options)
    trained, held = load_data(options)
    metrics = train_and_measure(options, trained, held)
    task.write_metrics(options.output, metrics, started)
    voices = len({*trained["voice"], *held["voice"]})
    task.describe(
        options,
        options.output,
        metrics,
        title=f"Text to speech by way of {'codes' if options.representation == 'codes' else 'log-mel spectrograms'}",
        description=f"Trained on {len(trained):,} utterances of "
        f"{options.dataset or 'espeak-ng'} in {voices} voices. One sentence in ten was held out.",
        example=held["source"][0],
        pipeline_tag="text-to-speech",
    )
    print(json.dumps(metrics, indent=2))
    print(f"look at {options.output / 'samples.png'} and listen to {options.output / 'samples.wav'}")


if __name__ == "__main__":
    task.end_with(main)
