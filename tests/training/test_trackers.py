import pytest
from PIL import Image

from regen_hf.training.trackers import log_file


class Tracker:
    """Any of accelerate's trackers, as far as it is used."""

    name = "wandb"

    def __init__(self):
        self.told = []

    def log_images(self, values, step):
        self.told.append((step, {name: [image.shape for image in images] for name, images in values.items()}))

    def log(self, values, step):
        self.told.append((step, values))


def test_other_trackers_get_what_they_can_take(tmp_path):
    Image.new("RGB", (6, 4)).save(tmp_path / "sheet.png")
    (tmp_path / "samples.txt").write_text("a red heart")
    tracker = Tracker()
    log_file([tracker], "prior/samples", tmp_path / "sheet.png", 5)
    log_file([tracker], "prior/samples", tmp_path / "samples.txt", 6)
    assert tracker.told == [(5, {"prior/samples": [(4, 6, 3)]}), (6, {"prior/samples": "a red heart"})]


def test_tensorboard_gets_pictures_sounds_and_texts(tmp_path):
    from accelerate.tracking import TensorBoardTracker
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = TensorBoardTracker("run", tmp_path)
    tracker.start()
    Image.new("RGB", (6, 4)).save(tmp_path / "sheet.png")
    (tmp_path / "samples.txt").write_text("a red heart")
    log_file([tracker], "pictures", tmp_path / "sheet.png", 1)
    log_file([tracker], "texts", tmp_path / "samples.txt", 2)
    tracker.finish()
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    assert [(event.width, event.height) for event in events.Images("pictures")] == [(6, 4)]
    (text,) = events.Tensors("texts/text_summary")
    assert text.tensor_proto.string_val == [b"a red heart"]


def test_trackio_gets_pictures_and_texts(tmp_path):
    pytest.importorskip("trackio")
    logged = []
    tracker = type(
        "Trackio", (Tracker,), {"name": "trackio", "log": lambda self, values, step: logged.append(values)}
    )()
    Image.new("RGB", (6, 4)).save(tmp_path / "sheet.png")
    (tmp_path / "samples.txt").write_text("a red heart")
    log_file([tracker], "samples", tmp_path / "sheet.png", 1)
    log_file([tracker], "samples", tmp_path / "samples.txt", 1)
    assert [type(each["samples"]).__name__ for each in logged] == ["TrackioImage", "Markdown"]
