"""The command line `regen-hf`: its commands, `--help`, and errors in one line."""

import argparse
import sys

from .extract import extract
from .generate import generate
from .parsing import parse, refuse
from .train import train

COMMANDS = {"train": train, "extract": extract, "generate": generate}

# what tells a user enough in one line; anything else is a mistake of ours and shows where it was made
ERRORS = (ValueError, TypeError, OSError, ImportError, FloatingPointError)


def main(argv: list[str] | None = None) -> None:
    """Runs a command; an error that an argument can cause ends it with one line and status 2."""
    argv = sys.argv[1:] if argv is None else argv
    listed = [f"  {name:<10}{run.__doc__.splitlines()[0]}" for name, run in COMMANDS.items()]
    top = argparse.ArgumentParser(
        prog="regen-hf",
        description="Regeneration learning: generate Y from X by way of an abstraction Y′ of Y.",
        epilog="\n".join(["commands:", *listed, "", "`regen-hf COMMAND --help` tells more."]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    top.error = refuse
    try:
        command = COMMANDS[top.parse_args(argv[:1]).command]
        command(*parse(command, argv[1:]))
    except KeyboardInterrupt as interrupt:
        print(f"\n{str(interrupt) or 'stopped.'}", file=sys.stderr)
        sys.exit(130)
    except ERRORS as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
