"""The command line `regen-hf`: its commands, `--help`, and errors in one line."""

import argparse
import inspect
import sys
from pathlib import Path
from typing import Any

from .extract import CacheArguments, TargetArguments, extract
from .generate import GenerationArguments, SourceArguments, generate
from .options import ModelArguments
from .parsing import _refuse, _unknown, use_file
from .train import LoraArguments, LossArguments, PairArguments, RunArguments, SharedArguments, train

COMMANDS = {
    "train": (
        train,
        (ModelArguments, PairArguments, RunArguments, LossArguments, LoraArguments, SharedArguments),
    ),
    "extract": (extract, (ModelArguments, TargetArguments, CacheArguments)),
    "generate": (generate, (ModelArguments, SourceArguments, GenerationArguments)),
}

# what tells a user enough in one line; anything else is a mistake of ours and shows where it was made
ERRORS = (ValueError, TypeError, OSError, ImportError, FloatingPointError)


def main(argv: list[str] | None = None) -> None:
    """Runs a command; an error that an argument can cause ends it with one line and status 2."""
    argv = sys.argv[1:] if argv is None else argv
    listed = [f"  {name:<10}{run.__doc__.splitlines()[0]}" for name, (run, _) in COMMANDS.items()]
    top = argparse.ArgumentParser(
        prog="regen-hf",
        description="Regeneration learning: generate Y from X by way of an abstraction Y′ of Y.",
        epilog="\n".join(["commands:", *listed, "", "`regen-hf COMMAND --help` tells more."]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    top.error = _refuse
    try:
        command = top.parse_args(argv[:1]).command
        COMMANDS[command][0](*parse(command, argv[1:]))
    except KeyboardInterrupt as interrupt:
        print(f"\n{str(interrupt) or 'stopped.'}", file=sys.stderr)
        sys.exit(130)
    except ERRORS as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


def parse(command: str, argv: list[str]) -> list[Any]:
    """The arguments of a command: an instance of each of its dataclasses.

    The command line goes over the file of `--config`, and that over the defaults.
    """
    parser, kinds = make_parser(command), COMMANDS[command][1]
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config")
    if (path := first.parse_known_args(argv)[0].config) is not None:
        options = [each[2:].split("=")[0] for each in argv if each.startswith("--")]
        use_file(parser, Path(path), said={each.replace("-", "_") for each in options})
    *found, unknown = parser.parse_args_into_dataclasses(argv, return_remaining_strings=True, look_for_args_file=False)
    if unknown:
        raise _unknown("the command line", unknown[0], [f"--{action.dest}" for action in parser._actions])
    return found[: len(kinds)]


def make_parser(command: str):
    """transformers' parser over the dataclasses of a command; the help is what their docstrings say."""
    from transformers import HfArgumentParser
    from transformers.utils.chat_template_utils import parse_google_format_docstring

    run, kinds = COMMANDS[command]
    about, _, examples = inspect.cleandoc(run.__doc__).partition("\n\n")
    told = {}
    for kind in kinds:
        for each in reversed(kind.__mro__[:-1]):
            told |= parse_google_format_docstring(inspect.cleandoc(each.__doc__))[1]
        kind._argument_group_name = kind.__doc__.splitlines()[0].rstrip(".").lower()
    parser = HfArgumentParser(
        kinds, prog=f"regen-hf {command}", usage=f"regen-hf {command} [--config FILE] [arguments]", description=about,
        epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    for action in parser._actions:
        if action.dest in told:
            default = " (required)" if action.required else f" (default: {action.default})"
            shown = action.required or not (action.default is None or action.default is False or action.default == [])
            action.help = (told[action.dest] + (default if shown else "")).replace("%", "%%")
    parser.add_argument("--config", metavar="FILE", help="a YAML or JSON file of these arguments.")
    parser.error = _refuse  # `main` says it
    return parser
