"""The command line and the file of `--config`, read into dataclasses."""

import argparse
import difflib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn


def use_file(parser: argparse.ArgumentParser, path: Path, said: set[str]) -> None:
    """Makes the values of a YAML or JSON file the defaults; in its sections, too, what the command line said counts."""
    import yaml

    text = path.read_text(encoding="utf-8")
    try:
        values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (yaml.YAMLError, json.JSONDecodeError) as error:
        raise ValueError(f"`config` {path} must be YAML or JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"`config` {path} must be a mapping of arguments, got {type(values).__name__}.")
    actions = {action.dest: action for action in parser._actions if action.dest not in ("help", "config")}
    for name, value in values.items():
        if name not in actions:
            raise _unknown(f"`config` {path}", name, actions)
        if isinstance(value, dict):
            value = {key: own for key, own in value.items() if key not in said}
        parser.set_defaults(**{name: _converted(parser, actions[name], value)})
        actions[name].required = False


def _converted(parser: argparse.ArgumentParser, action: argparse.Action, value: Any) -> Any:
    """A value of a file as its argument wants it: YAML takes `1e-3` for a text, and the word `no` for false."""
    many = action.nargs in ("*", "+")
    if many != isinstance(value, list) or (value is None and action.default is not None):
        raise ValueError(f"`{action.dest}` must be {'a list' if many else 'a single value'}, got {value!r}.")
    if isinstance(value, dict | None):
        return value
    try:
        found = [parser._get_value(action, _as_text(each)) for each in (value if many else [value])]
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from error
    return found if many else found[0]


def _as_text(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _unknown(where: str, name: Any, known: Iterable[str]) -> ValueError:
    near = difflib.get_close_matches(str(name), known, n=1)
    return ValueError(f"{where} has {name!r}, which is no argument{f'; is it {near[0]!r}?' if near else '.'}")


def _refuse(message: str) -> NoReturn:
    raise ValueError(message)
