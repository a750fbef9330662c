"""How many pairs recognition needs, by way of phonemes and end to end: a table and a plot.

python examples/speech_recognition/pairs.py --pairs 100 300 1000 3000
"""

import argparse
import json
from pathlib import Path

import run
import task


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, nargs="+", default=[100, 300, 1000, 3000])
    parser.add_argument("--output", type=Path, default=Path("outputs/speech_recognition_pairs"))
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of steps of every stage")
    return parser.parse_args(argv)


def table(rows: list[dict]) -> str:
    """The error rates by the number of pairs, as Markdown."""
    names = ("pairs", "WER by phonemes", "WER end to end", "ratio", "CER by phonemes", "CER end to end")
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for row in rows:
        rates = f"{row['wer']:.3f} | {row['direct_wer']:.3f} | {row['wer'] / row['direct_wer']:.2f}"
        lines.append(f"| {row['pairs']:,} | {rates} | {row['cer']:.3f} | {row['direct_cer']:.3f} |")
    return "\n".join(lines) + "\n"


def plot(rows: list[dict], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    counts = [row["pairs"] for row in rows]
    axes.plot(counts, [row["direct_wer"] for row in rows], marker="o", label="speech → letters")
    axes.plot(counts, [row["wer"] for row in rows], marker="o", label="speech → phonemes → text")
    axes.set(xscale="log", ylim=(0, None), xlabel="pairs of speech and text", ylabel="word error rate, held out")
    axes.set_xticks(counts, [f"{count:,}" for count in counts], minor=False)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def main(argv: list[str] | None = None) -> None:
    options = parse_arguments(argv)
    rows = []
    for count in sorted(options.pairs):
        folder = options.output / f"{count}_{options.scale:g}"
        found = folder / "metrics.json"
        if not found.exists() or "direct_wer" not in json.loads(found.read_text(encoding="utf-8")):
            asked = [f"--pairs={count}", f"--output={folder}", f"--scale={options.scale}"]
            run.main([*asked, "--compare", "--resume"])  # what is finished is not run again
        rows.append(json.loads(found.read_text(encoding="utf-8")))
    (options.output / "pairs.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    (options.output / "pairs.md").write_text(table(rows), encoding="utf-8")
    plot(rows, options.output / "pairs.png")
    print(table(rows))


if __name__ == "__main__":
    task.end_with(main)
