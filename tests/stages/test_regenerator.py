import copy
import json
import os
import threading

import numpy as np
import pytest
import tiny
import torch
from datasets import Dataset, Image, load_dataset
from huggingface_hub import ModelCard
from pairs import COLORS, pairs
from PIL import Image as PILImage
from runs import STAGES, arguments, run
from safetensors.torch import load_file
from transformers import pipeline

from regen_hf import (
    AdversarialLoss,
    TrainingInterrupted,
)
from regen_hf.stages import regenerator
from regen_hf.stages.inputs import StageInputs
from regen_hf.training import loop
from regen_hf.training.run_folder import RunFolder


@pytest.mark.parametrize("kind", STAGES)
def test_every_kind_of_representation_trains_and_is_kept(kind, tmp_path):
    model = tiny.MODELS[kind]()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    _, results = run(tmp_path, kind, model=model, samples=["red heart", "blue dog"])
    assert [result.name for result in results] == list(STAGES[kind])
    pipe = pipeline("regeneration", model=str(tmp_path / "model"))
    for name, value in model.state_dict().items():  # the moving average is in both
        assert torch.equal(pipe.model.state_dict()[name], value), name
    parts = {"extractor": "extractor", "prior": "prior", "decoder": "decoder_model"}
    for stage in STAGES[kind]:
        changed = [
            n for n in before if n.startswith(parts[stage]) and not torch.equal(before[n], model.state_dict()[n])
        ]
        assert changed, stage
    assert pipe("red heart")["image"].size == (16, 16)
    summary = json.loads((tmp_path / "training_summary.json").read_text())
    assert [(stage["name"], stage["steps"]) for stage in summary["stages"]] == [(name, 6) for name in STAGES[kind]]
    assert {path.name for path in (tmp_path / "samples").iterdir()} == {f"{name}-000006.png" for name in STAGES[kind]}
    assert {path.name for path in tmp_path.iterdir()} <= {
        "model", "samples", "representations", "stages", "training_summary.json",
    }  # fmt: skip


@pytest.mark.slow
def test_a_trained_regenerator_makes_what_it_was_told(tmp_path):
    """Real learning at tiny size: the right colour for each name."""
    torch.manual_seed(0)
    steps = {"learning_rate": 1e-2, "batch_size": 24, "ema_decay": 0.0}
    prior = {**steps, "learning_rate": 5e-3}
    run(tmp_path, extractor=arguments(150, **steps), prior=arguments(250, **prior))
    pipe = pipeline("regeneration", model=str(tmp_path / "model"))
    for text in ("red heart", "blue heart", "green cat"):
        image = np.asarray(pipe(text, generator=torch.Generator().manual_seed(0))["image"]).mean((0, 1))
        distances = {name: np.abs(image - color).sum() for name, color in COLORS.items()}
        assert min(distances, key=distances.get) == text.split()[0], (text, image)


def test_stages_without_their_part_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`extractor` asks to train DownsampleExtractor, which has nothing to learn"):
        run(tmp_path, "lowres", extractor=arguments())
    with pytest.raises(ValueError, match="`decoder` asks to train a decoder, but the model has none"):
        run(tmp_path, decoder=arguments())


def test_an_interruption_keeps_a_usable_model(tmp_path, monkeypatch):
    model = tiny.latent_model()
    calls = []

    def press_ctrl_c(*_):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt

    model.prior.register_forward_pre_hook(press_ctrl_c)
    with pytest.raises(
        TrainingInterrupted, match=r"training was interrupted; the model so far is in .*model, and `resume=True`"
    ):
        run(tmp_path, model=model)
    assert pipeline("regeneration", model=str(tmp_path / "model"))("red heart")["image"].size == (16, 16)


def _press_ctrl_c(*_, **__):
    raise KeyboardInterrupt


def _kept(folder):
    names = ("model/model.safetensors", "model/README.md", "training_summary.json")
    return {name: (folder / name).read_bytes() for name in names}


def test_an_interruption_before_anything_is_trained_leaves_what_is_saved(tmp_path, monkeypatch):
    model, calls = tiny.latent_model(), iter(range(3))
    model.prior.register_forward_pre_hook(lambda *_: None if next(calls, None) is not None else _press_ctrl_c())
    with pytest.raises(TrainingInterrupted, match="the model so far is in"):
        run(tmp_path, model=model)
    before = _kept(tmp_path)

    def interrupted_in(place, name):
        with monkeypatch.context() as pressed, pytest.raises(TrainingInterrupted, match="nothing was trained yet, so"):
            pressed.setattr(place, name, _press_ctrl_c)
            run(tmp_path, resume=True)
        assert _kept(tmp_path) == before

    interrupted_in(regenerator, "load_finished")
    interrupted_in(StageInputs, "prior")
    interrupted_in(loop, "load_checkpoint")
    run(tmp_path, resume=True)
    before = _kept(tmp_path)
    interrupted_in(regenerator, "load_finished")
    assert RunFolder(tmp_path).finished


def test_what_was_trained_before_the_next_stage_was_read_for_is_saved(tmp_path, monkeypatch):
    with monkeypatch.context() as pressed, pytest.raises(TrainingInterrupted, match="the model so far is in"):
        pressed.setattr(StageInputs, "prior", _press_ctrl_c)
        run(tmp_path)
    summary = json.loads((tmp_path / "training_summary.json").read_text())
    assert [stage["name"] for stage in summary["stages"]] == ["extractor"]


def test_a_resumed_run_is_the_one_that_was_begun(tmp_path):
    run(tmp_path / "whole")
    dataset, asked = pairs(), {"prior": arguments(6, eval_every=2)}
    model = tiny.latent_model()
    model.prior.register_forward_pre_hook(_stop_at(4))
    with pytest.raises(InterruptedError):
        run(tmp_path / "killed", model=model, **asked)
    with pytest.raises(ValueError, match="holds a run that is not finished"):
        run(tmp_path / "killed", **asked)
    with pytest.raises(ValueError, match="it was begun with other dataset"):
        run(tmp_path / "killed", dataset=dataset.select(range(20)), resume=True, **asked)
    with pytest.raises(ValueError, match="it was begun with other stages"):
        run(tmp_path / "killed", resume=True, extractor=None)
    other = tiny.latent_model()
    other.config.generation = {"guidance": 3.0}
    with pytest.raises(ValueError, match="it was begun with other model"):
        run(tmp_path / "killed", model=other, resume=True, **asked)
    with pytest.raises(ValueError, match="`learning_rate` was 0.001 and is 0.01"):
        run(tmp_path / "killed", resume=True, **{**asked, "extractor": arguments(learning_rate=0.01)})
    resumed, results = run(tmp_path / "killed", resume=True, **asked)
    assert [result.name for result in results] == ["extractor", "prior"]
    again, results = run(tmp_path / "killed", resume=True, **asked)  # finished: nothing is trained again
    assert [result.steps for result in results] == [6, 6]
    for name, value in resumed.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def _stop_at(count):
    calls = iter(range(count))

    def stop(*_):
        if next(calls, None) is None:
            raise InterruptedError

    return stop


def test_a_finished_run_is_begun_anew_where_that_is_said_and_nothing_of_others_is_removed(tmp_path):
    run(tmp_path, extractor=None)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    for bad in ({}, {"dataset": pairs().select(range(4))}):
        with pytest.raises(ValueError, match=f"{tmp_path} holds a run: pass `resume=True` .* or `overwrite=True`"):
            run(tmp_path, extractor=None, **bad)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
    mine = [
        "mine.txt",
        "stages/mine.py",
        "stages/prior/mine.py",
        "model/mine.py",
        "model/mine/mine.py",
        "samples/mine.png",
    ]
    for name in mine:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    (tmp_path / "model" / "README.md").write_text("mine")
    run(tmp_path, extractor=None, resume=True)  # it is finished
    assert (tmp_path / "model" / "README.md").read_text() == "mine"
    run(tmp_path, "lowres", overwrite=True)
    assert all((tmp_path / name).read_text() == "mine" for name in mine)
    assert {path.name for path in (tmp_path / "stages").iterdir()} == {
        "mine.py", "run.json", "start.safetensors", "prior", "decoder",
    }  # fmt: skip
    assert pipeline("regeneration", model=str(tmp_path / "model")).model.decoder_model is not None


def test_the_model_is_whole_at_any_moment(tmp_path):
    run(tmp_path, extractor=None)
    seen, done = [], threading.Event()

    def read():
        while not done.is_set():
            before, names = os.stat(tmp_path / "model"), sorted(os.listdir(tmp_path / "model"))
            tensors, after = len(load_file(tmp_path / "model" / "model.safetensors")), os.stat(tmp_path / "model")
            if (before.st_ino, before.st_ctime_ns) == (after.st_ino, after.st_ctime_ns):
                seen.append((names, tensors))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        run(tmp_path, overwrite=True, extractor=None, prior=arguments(6, eval_every=1))
    finally:
        done.set()
        reader.join()
    assert len(seen) > 5 and all(each == seen[0] for each in seen)


def test_a_disk_that_is_full_is_told_with_its_folder_and_what_to_do_and_the_run_goes_on(tmp_path):
    resource = pytest.importorskip("resource")
    asked = {"extractor": None, "prior": arguments(6, save_every=2)}
    model = tiny.latent_model()
    whole, _ = run(tmp_path / "whole", model=copy.deepcopy(model), **asked)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    begun = (tmp_path / "whole" / "stages" / "start.safetensors").stat().st_size + 1000

    def fill(*_):
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (begun, limits[1])
        )  # a checkpoint, with what it learned by, is larger

    model.prior.register_forward_pre_hook(fill)
    message = (
        rf"^the output folder {tmp_path / 'out'} cannot be written to: File too large; make room, and `resume=True`"
    )
    try:
        with pytest.raises(OSError, match=message) as found:
            run(tmp_path / "out", model=model, **asked)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(found.value)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.name.endswith(".tmp")]
    resumed, _ = run(tmp_path / "out", resume=True, **asked)
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def files_of(tmp_path, color):
    """Pairs whose pictures are files."""
    for i in range(8):
        PILImage.new("RGB", (16, 16), color).save(tmp_path / f"{i}.bmp")
    rows = {"text": tiny.NAMES[:1] * 8, "image": [str(tmp_path / f"{i}.bmp") for i in range(8)]}
    return Dataset.from_dict(rows).cast_column("image", Image())


def test_a_run_is_not_resumed_on_other_pictures_and_goes_on_where_files_were_touched(tmp_path):
    (tmp_path / "files").mkdir()
    asked = {"extractor": None, "prior": arguments(4, save_every=2, batch_size=4)}
    model = tiny.latent_model()
    model.prior.register_forward_pre_hook(_stop_at(3))
    with pytest.raises(InterruptedError):
        run(tmp_path / "out", model=model, dataset=files_of(tmp_path / "files", "black"), **asked)
    with pytest.raises(ValueError, match="it was begun with other dataset"):
        run(tmp_path / "out", dataset=files_of(tmp_path / "files", "white"), resume=True, **asked)
    caches = list((tmp_path / "out" / "representations").iterdir())
    run(tmp_path / "out", dataset=files_of(tmp_path / "files", "black"), resume=True, **asked)
    assert list((tmp_path / "out" / "representations").iterdir()) == caches  # nothing was extracted again


def test_a_run_goes_on_where_a_file_of_rows_was_touched(tmp_path):
    pairs().to_parquet(tmp_path / "data.parquet")
    asked, model = {"extractor": None, "prior": arguments(4, save_every=2)}, tiny.latent_model()
    model.prior.register_forward_pre_hook(_stop_at(3))
    for touched in (1, 2):
        os.utime(tmp_path / "data.parquet", ns=(touched, touched))
        dataset = load_dataset("parquet", data_files=str(tmp_path / "data.parquet"), split="train")
        if touched == 1:
            with pytest.raises(InterruptedError):
                run(tmp_path / "out", model=model, dataset=dataset, **asked)
    run(tmp_path / "out", dataset=dataset, resume=True, **asked)
    assert len(list((tmp_path / "out" / "representations").iterdir())) == 1


@pytest.mark.parametrize("license", [None, "cc-by-4.0"])
def test_the_card_names_the_licence_that_was_given_and_no_other(license, tmp_path):
    model, _ = run(tmp_path, extractor=None, prior=arguments(2), license=license)
    assert ModelCard.load(tmp_path / "model" / "README.md").data.license == license
    assert model.home == str(tmp_path / "model")  # whose card is uploaded with it


def test_joint_training_moves_every_part(tmp_path):
    model = tiny.latent_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    _, (result,) = run(tmp_path, model=model, extractor=None, prior=None, joint=arguments())
    assert result.name == "joint"
    changed = {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(before[name], value)}
    assert changed == {"extractor", "prior"}


def test_validation_is_measured_in_every_stage(tmp_path):
    asked = {name: arguments(eval_every=3) for name in ("prior", "decoder", "joint")}
    _, results = run(tmp_path, "lowres", validation=pairs().select(range(8)), **asked)
    assert [[step for step, _ in result.validation] for result in results] == [[3, 6]] * 3
    for name in asked:
        assert (tmp_path / "stages" / name / "best.safetensors").is_file()
    with pytest.raises(ValueError, match="`keep` is 'best' for the stage prior, which needs `validation` data"):
        run(tmp_path / "other", prior=arguments(keep="best", eval_every=1))


def test_further_losses_of_the_extractor(tmp_path):
    loss = AdversarialLoss(width=8, num_layers=1)
    before = loss.discriminator[0].weight.clone()
    run(tmp_path, prior=None, extractor_losses=[loss])
    assert loss.forwards == 6
    assert not torch.equal(loss.discriminator[0].weight, before)
    with pytest.raises(ValueError, match="`extractor_losses` are for the stage `extractor`"):
        run(tmp_path / "other", extractor=None, extractor_losses=[loss])


def test_trackers_see_each_stage(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(tmp_path, report_to=["tensorboard"], samples=["red heart"], validation=pairs().select(range(4)))
    for name in ("extractor", "prior"):
        events = EventAccumulator(str(tmp_path / "stages" / name / "logs" / "regen_hf"))
        events.Reload()
        assert [event.step for event in events.Images(f"{name}/samples")] == [6]
        assert len(events.Scalars(f"{name}/validation_loss")) == 1


def test_nothing_to_train_is_said(tmp_path):
    with pytest.raises(ValueError, match="there is nothing to train"):
        run(tmp_path, extractor=None, prior=None)
    with pytest.raises(ValueError, match="`unpaired` is for the stages extractor and decoder"):
        run(tmp_path, extractor=None, unpaired=pairs())


@pytest.mark.filterwarnings("ignore:.*kept in float32")
@pytest.mark.parametrize("stage", ["prior", "joint"])
def test_parts_that_do_not_learn_keep_their_dtype(stage, tmp_path):
    model = tiny.latent_model().to(torch.bfloat16)
    model.extractor.requires_grad_(False)
    run(tmp_path, model=model, **{"extractor": None, "prior": None, stage: arguments(2)})
    assert {p.dtype for p in model.extractor.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in model.prior.parameters()} == {torch.float32}
    assert model.generate(**tiny.processor()(source=["red heart"]), num_inference_steps=2).values.isfinite().all()


def test_a_precision_that_would_be_ignored_is_refused_before_training(tmp_path):
    with pytest.raises(ValueError, match="`mixed_precision` must not be 'fp16' on a CPU"):
        run(tmp_path, prior=arguments(mixed_precision="fp16"))
    assert not list(tmp_path.iterdir())
