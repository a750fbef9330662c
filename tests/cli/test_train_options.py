"""That every option of `regen-hf train` reaches where it is used, and that none is taken that would have no effect."""

import dataclasses
from types import SimpleNamespace

import pytest
from cli.command_runs import training
from cli.shared_options import SHARED, STREAMED, option_names, train_data

from regen_hf import StageArguments
from regen_hf.cli.train import STAGES, SharedArguments, train

WRONG = {
    "unknown stage": (training("out", "--stages", "pryor"), "`stages` must be of extractor, .* got 'pryor'"),
    "section without its stage": (
        training("out", "--extractor", '{"max_steps": 1}'), "`extractor` has arguments, but `stages` does not name it",
    ),
    "unknown key of a section": (
        training("out", "--prior", '{"max_step": 1}'), "`prior` has 'max_step', which is no argument; is it 'max_",
    ),
    "value of a section": (
        training("out", "--prior", '{"max_steps": 1.5}'), "--max_steps/--max-steps: invalid int value: '1.5'",
    ),
    "wrong for a stage": (training("out", "--keep", "first"), "stage prior: `keep` must be one of last, best"),
    "no number": (training("out", "--learning_rate", "nan"), "stage prior: `learning_rate` must be a number, got nan"),
    "statistics of nothing": (
        training("out", "--stages", "extractor", "--measure_statistics"), "`measure_statistics` is for the stages pr",
    ),
    "no steps": (training("out")[:-2], "--max_steps must be given, for all stages or for prior alone"),
    "predicted without decoder": (training("out", "--predicted", 1), "`predicted` is for the stage decoder"),
    "loss without extractor": (training("out", "--adversarial_weight", 1), "`adversarial_weight` is for the stage ext"),
    "weight without backbone": (
        training("out", "--perceptual_weight", 1), "`perceptual_weight` is 1.0, which has no effect without `perc",
    ),
    "negative weight": (training("out", "--adversarial_weight", -1), "`adversarial_weight` must be at least 0, got"),
    "buffer without stream": (training("out", "--shuffle_buffer", 9), "`shuffle_buffer` is 9, .* without `streaming`"),
    "negative buffer": (training("out", "--streaming", "--shuffle_buffer", -1), "`shuffle_buffer` must be at least 0"),
    "representations of a stream": (
        training("out", "--streaming", "--representations", "y"), "`representations` cannot be had with `streaming`",
    ),
    "representations of what learns": (
        training("out", "--stages", "extractor", "prior", "--representations", "y"), "`representations` are for prior",
    ),
    "representations for nothing": (
        training("out", "--stages", "joint", "--representations", "y"), "`representations` are for prior and decoder",
    ),
    "no representations": (training("out", "--representations", "flat"), "flat holds no finished cache"),
    "rank without adapters": (training("out", "--lora_rank", 4), "`lora_rank` is 4, which has no effect without `lo"),
    "adapters for no stage": (
        training("out", "--lora", "extractor", "prior"), "`lora` names extractor, which `stages` does not",
    ),
    "stage without adapters": (
        training("out", "--lora", "prior", "--stages", "extractor", "prior"), "`stages` names extractor, but `lora`",
    ),
    "adapters for no part": (training("out", "--lora", "pryor"), "`lora` must be of extractor, prior, decoder, got"),
    "adapters for a missing part": (
        training("out", "--lora", "decoder", "--stages", "decoder"), "`parts` must be a list of extractor, prior, got",
    ),
    "adapters over their model": (
        training("here", "--lora", "prior", model="here/model"), "adapters would be written over here/model",
    ),
    "no column": ([*training("out")[:7], "--max_steps", 4], "the dataset has no column 'source'; its columns are text"),
    "go on and begin anew": (training("out", "--resume", "--overwrite"), "`overwrite` begins anew: give one of"),
    "bad example": (training("out", "--on_bad_example", "ignore"), "`on_bad_example` must be 'raise' or 'skip'"),
}  # fmt: skip


@pytest.mark.parametrize(("argv", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_in_one_line(argv, message, refused):
    refused(argv, message)


def of_stage(name, value):
    """An argument of a stage reaches its `StageArguments`."""
    return [f"--{name}", value], lambda calls: getattr(calls.train.prior, name), value


def section(name):
    more = ["--stages", name, f"--{name}", '{"seed": 3}']
    return more, lambda calls: getattr(calls.train, name).seed, 3


EXTRACTING = ["--stages", "extractor"]


# for each option: how it is given, where it is found, and what is found there then
CASES = {
    **SHARED,
    "dataset": (["--dataset", "e"], lambda calls: calls.train.args[2].name, "e"),
    "source_column": (["--source_column", "text"], lambda calls: calls.train.source_column, "text"),
    "target_column": (["--target_column", "image"], lambda calls: calls.train.target_column, "image"),
    "validation_split": (
        ["--validation_split", "test"], lambda c: c.train.validation and c.train.validation.how["split"], "test",
    ),
    "unpaired": (["--unpaired", "u"], lambda calls: calls.train.unpaired and calls.train.unpaired.name, "u"),
    "representations": (["--representations", "user/y"], lambda calls: calls.train.representations, "cache"),
    "on_bad_example": (["--on_bad_example", "skip"], lambda calls: calls.train.on_bad_example, "skip"),
    "streaming": STREAMED,
    "shuffle_buffer": (
        ["--streaming", "--shuffle_buffer", 7, "--seed", 2], lambda calls: train_data(calls).shuffled,
        {"buffer_size": 7, "seed": 2},
    ),
    "output_folder": (["--output_folder", "p"], lambda calls: calls.train.args[3], "p"),
    "stages": (
        ["--stages", "joint", "prior"], lambda calls: [name for name in STAGES if hasattr(calls.train, name)],
        ["prior", "joint"],
    ),
    "extractor": section("extractor"),
    "prior": section("prior"),
    "decoder": section("decoder"),
    "joint": section("joint"),
    "samples": (["--samples", "a", "b"], lambda calls: calls.train.samples, ["a", "b"]),
    "report_to": (["--report_to", "trackio"], lambda calls: calls.train.report_to, ["trackio"]),
    "measure_statistics": (["--measure_statistics"], lambda calls: calls.train.measure_statistics, True),
    "resume": (["--resume"], lambda calls: calls.train.resume, True),
    "overwrite": (["--overwrite"], lambda calls: calls.train.overwrite, True),
    "license": (["--license", "mit"], lambda calls: calls.train.license, "mit"),
    "perceptual_backbone": (
        ["--perceptual_backbone", "b", *EXTRACTING], lambda calls: calls.train.extractor_losses, ["perceptual"],
    ),
    "perceptual_weight": (
        ["--perceptual_backbone", "b", "--perceptual_weight", 0.5, *EXTRACTING],
        lambda calls: hasattr(calls, "perceptual") and calls.perceptual.args, ("b", 0.5),
    ),
    "adversarial_weight": (
        ["--adversarial_weight", 0.5, *EXTRACTING],
        lambda calls: [calls.train.extractor_losses, getattr(calls, "adversarial", None)],
        [["adversarial"], SimpleNamespace(args=(), weight=0.5)],
    ),
    "lora": (["--lora", "prior"], lambda calls: hasattr(calls, "lora") and calls.lora.args[1:], (["prior"], 8)),
    "lora_rank": (
        ["--lora", "prior", "--lora_rank", 2], lambda calls: hasattr(calls, "lora") and calls.lora.args[2], 2,
    ),
    "max_steps": of_stage("max_steps", 30),
    "batch_size": of_stage("batch_size", 3),
    "learning_rate": of_stage("learning_rate", 0.5),
    "optimizer": of_stage("optimizer", "muon"),
    "beta2": of_stage("beta2", 0.5),
    "weight_decay": of_stage("weight_decay", 0.5),
    "lr_scheduler": of_stage("lr_scheduler", "cosine"),
    "warmup_steps": of_stage("warmup_steps", 5),
    "max_grad_norm": of_stage("max_grad_norm", 0.5),
    "gradient_accumulation_steps": of_stage("gradient_accumulation_steps", 2),
    "gradient_checkpointing": of_stage("gradient_checkpointing", True),
    "compile": of_stage("compile", True),
    "ema_decay": of_stage("ema_decay", 0.5),
    "mixed_precision": of_stage("mixed_precision", "bf16"),
    "group_by_length": of_stage("group_by_length", True),
    "num_workers": of_stage("num_workers", 2),
    "seed": of_stage("seed", 2),
    "eval_every": of_stage("eval_every", 2),
    "save_every": of_stage("save_every", 2),
    "keep": ([*of_stage("keep", "best")[0], "--eval_every", 2], *of_stage("keep", "best")[1:]),
    "predicted": (
        ["--predicted", 0.5, "--stages", "prior", "decoder"],
        lambda c: (c.train.prior.predicted, hasattr(c.train, "decoder") and c.train.decoder.predicted), (0.0, 0.5),
    ),
}  # fmt: skip


LEAST = ["train", "--model", "m", "--dataset", "d", "--output_folder", "o", "--max_steps", 20, "--stages", "prior"]


@pytest.mark.parametrize("name", option_names(train))
def test_every_argument_reaches_where_it_is_used(name, reaches):
    """A new one fails here until it is in `CASES`."""
    reaches(LEAST, *CASES[name])


def test_no_argument_of_a_stage_is_left_out():
    assert {field.name for field in dataclasses.fields(StageArguments)} <= CASES.keys() == set(option_names(train))


def test_shared_arguments_are_checked_with_their_stage():
    assert SharedArguments(learning_rate=-1.0).max_steps is None
