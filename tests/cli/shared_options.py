"""Options that all commands have: how each is given, where it is found, and what is found there then."""

import dataclasses

from regen_hf.cli.parsing import option_kinds


def option_names(command):
    return [field.name for kind in option_kinds(command) for field in dataclasses.fields(kind)]


def train_data(calls):
    return calls.data["train", "d"]


STREAMED = ["--streaming"], lambda calls: train_data(calls).how["streaming"], True
SHARED = {
    "model": (["--model", "user/m"], lambda c: (c.model.args, c.processor.args), (("user/m",), ("user/m",))),
    "trust_remote_code": (
        ["--trust_remote_code"], lambda c: (c.model.trust_remote_code, c.processor.trust_remote_code), (True, True),
    ),
    "dataset_config": (["--dataset_config", "de"], lambda calls: train_data(calls).config, "de"),
    "split": (["--split", "test"], lambda calls: list(calls.data), [("test", "d")]),
}  # fmt: skip
