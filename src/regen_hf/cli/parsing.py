"""The command line and the file of `--config`, read into dataclasses."""

import argparse
import difflib
import inspect
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from ..parts.settings import shown

MOST_VALUES = 100_000
"""In a file of arguments; a command has some fifty, and a list of paths some thousands."""


def parse(command: Callable[..., None], argv: list[str]) -> list[Any]:
    """The arguments of a command: an instance of each of its dataclasses.

    Command-line options override the file of `--config`, which overrides the defaults.
    """
    parser = make_parser(command)
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config")
    if (path := first.parse_known_args(argv)[0].config) is not None:
        options = [each[2:].split("=")[0] for each in argv if each.startswith("--")]
        use_file(parser, Path(path), said={each.replace("-", "_") for each in options})
    *found, unknown = parser.parse_args_into_dataclasses(argv, return_remaining_strings=True, look_for_args_file=False)
    if unknown:
        raise unknown_argument("the command line", unknown[0], [f"--{action.dest}" for action in parser._actions])
    return found[: len(option_kinds(command))]


def option_kinds(command: Callable[..., None]) -> list[type]:
    """The dataclasses that hold the options of a command: the annotations of its parameters."""
    return [parameter.annotation for parameter in inspect.signature(command).parameters.values()]


def make_parser(command: Callable[..., None]):
    """transformers' parser over the dataclasses of a command; the help is what their docstrings say."""
    from transformers import HfArgumentParser
    from transformers.utils.chat_template_utils import parse_google_format_docstring

    name, kinds = command.__name__, option_kinds(command)
    about, _, examples = inspect.cleandoc(command.__doc__).partition("\n\n")
    told = {}
    for kind in kinds:
        for each in reversed(kind.__mro__[:-1]):
            told |= parse_google_format_docstring(inspect.cleandoc(each.__doc__))[1]
        kind._argument_group_name = kind.__doc__.splitlines()[0].rstrip(".").lower()
    parser = HfArgumentParser(
        kinds, prog=f"regen-hf {name}", usage=f"regen-hf {name} [--config FILE] [arguments]", description=about,
        epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    for action in parser._actions:
        if action.dest in told:
            default = " (required)" if action.required else f" (default: {action.default})"
            named = action.required or not (action.default is None or action.default is False or action.default == [])
            action.help = (told[action.dest] + (default if named else "")).replace("%", "%%")
    parser.add_argument("--config", metavar="FILE", help="a YAML or JSON file of these arguments.")
    parser.error = refuse  # `main` says it
    return parser


def use_file(parser: argparse.ArgumentParser, path: Path, said: set[str]) -> None:
    """Makes the values of a YAML or JSON file the defaults; in its sections, too, what the command line said counts."""
    import yaml

    text = path.read_text(encoding="utf-8")
    try:
        values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
        _check_size(values)
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # ValueError: a date or a number that there is not
        raise ValueError(f"`config` {path} must be YAML or JSON: {error}") from error
    except RecursionError as error:
        raise ValueError(f"`config` {path} is nested too deeply.") from error
    if not isinstance(values, dict):
        raise ValueError(f"`config` {path} must be a mapping of arguments, got {type(values).__name__}.")
    actions = {action.dest: action for action in parser._actions if action.dest not in ("help", "config")}
    for name, value in values.items():
        if name not in actions:
            raise unknown_argument(f"`config` {path}", name, actions)
        if isinstance(value, dict):
            value = {key: own for key, own in value.items() if key not in said}
        value = converted(parser, actions[name], value)
        if name == "trust_remote_code" and value and name not in said:
            raise ValueError(f"`{name}` runs code, so it is not taken from `config` {path}: type `--{name}`.")
        parser.set_defaults(**{name: value})
        actions[name].required = False


def _check_size(values: Any) -> None:
    """Counts what aliases stand for as often as they do: some in each other would be any number, or go on for ever."""
    left, count = [values], 0
    while left:
        value, count = left.pop(), count + 1
        if count > MOST_VALUES:
            raise ValueError(f"it has more than {MOST_VALUES:,} values")
        if isinstance(value, dict | list | tuple | set):
            left += value.items() if isinstance(value, dict) else value
            if len(left) > MOST_VALUES:
                raise ValueError(f"it has more than {MOST_VALUES:,} values")


def converted(parser: argparse.ArgumentParser, action: argparse.Action, value: Any) -> Any:
    """A value of a file as its argument wants it: YAML takes `1e-3` for a text, and the word `no` for false."""
    many = action.nargs in ("*", "+")
    if many != isinstance(value, list) or (value is None and action.default is not None):
        raise ValueError(f"`{action.dest}` must be {'a list' if many else 'a single value'}, got {shown(value)}.")
    if isinstance(value, dict | None):
        return value
    if many and (nested := [each for each in value if isinstance(each, list | dict)]):
        raise ValueError(f"`{action.dest}` must be a list of single values, got {shown(nested[0])} in it.")
    try:
        found = [parser._get_value(action, _as_text(each)) for each in (value if many else [value])]
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from error
    return found if many else found[0]


def _as_text(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def unknown_argument(where: str, name: Any, known: Iterable[str]) -> ValueError:
    near = difflib.get_close_matches(str(name), known, n=1)
    return ValueError(f"{where} has {shown(name)}, which is no argument{f'; is it {near[0]!r}?' if near else '.'}")


def refuse(message: str) -> NoReturn:
    raise ValueError(message)
