"""The README's table of what fills which slot, made of what the tests load by name; run as a script, it is written."""

from pathlib import Path

from named_extractors import EXTRACTORS
from named_generators import GENERATORS

import regen_hf
from regen_hf import PreTrainedExtractor, PreTrainedGenerator, RuleExtractor
from regen_hf.parts.auto import read_config

README = Path(__file__).resolve().parents[1] / "README.md"
MARKS = "<!-- slots -->\n", "<!-- end of slots -->"


def public(contract: type) -> list[type]:
    found = [getattr(regen_hf, name) for name in regen_hf.__all__]
    return [each for each in found if isinstance(each, type) and issubclass(each, contract)]


def hosted_extractors() -> dict[str, list[str]]:
    """The class that makes an extractor of it, and the models that the tests give it."""
    found: dict[str, list[str]] = {}
    for part in EXTRACTORS.values():
        model = part.build()
        made = next(each for each in public(PreTrainedExtractor) if each.hosts(read_config(model)))
        found.setdefault(made.__name__, []).append(type(model).__name__)
    return found


def hosted_generators() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for part in GENERATORS.values():
        if part.made is not regen_hf.RegenerationModel:
            found.setdefault(part.made.__name__, []).append(type(part.build()).__name__)
    return found


def table() -> str:
    rules = [each.__name__ for each in public(RuleExtractor) if each is not RuleExtractor]
    rows = [("extractor", name, models) for name, models in sorted(hosted_extractors().items())]
    rows += [("extractor", "TokenAutoencoderExtractor", [])]
    rows += [("extractor, a rule", name, []) for name in sorted(rules)]
    rows += [("prior, decoder", name, models) for name, models in sorted(hosted_generators().items())]
    rows += [("decoder", "InverseSTFTGenerator", [])]
    rows += [("decoder, a rule", "GriffinLimGenerator", [])]
    rows += [("decoder, prior", "RegenerationModel", [])]
    lines = ["| slot | class | loaded by name from |", "|---|---|---|"]
    for slot, name, models in rows:
        models = ", ".join(f"`{model}`" for model in sorted(set(models), key=str.lower))
        lines.append(f"| {slot} | `{name}` | {models} |")
    return "\n".join(lines) + "\n"


def parts(text: str) -> tuple[str, str, str]:
    before, _, rest = text.partition(MARKS[0])
    inside, _, after = rest.partition(MARKS[1])
    return before, inside, after


def test_the_table_says_what_fills_which_slot():
    assert parts(README.read_text(encoding="utf-8"))[1] == table(), "run `python tests/test_readme.py` and look at it"


def test_every_public_part_is_in_the_table():
    shown = parts(README.read_text(encoding="utf-8"))[1]
    for each in {*public(PreTrainedExtractor), *public(PreTrainedGenerator)}:
        if each not in (PreTrainedExtractor, PreTrainedGenerator, RuleExtractor):
            assert f"`{each.__name__}`" in shown, each


if __name__ == "__main__":
    before, _, after = parts(README.read_text(encoding="utf-8"))
    README.write_text(f"{before}{MARKS[0]}{table()}{MARKS[1]}{after}", encoding="utf-8")
