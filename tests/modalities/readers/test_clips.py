import io
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from regen_hf import ImageModality, VideoModality
from regen_hf.modalities.readers import clips
from regen_hf.modalities.readers.clips import clip


def written(times, kind: str = "matroska", codec: str = "libx264", size: int = 16, pixels: str = "yuv420p") -> bytes:
    """Frames at some milliseconds, each brighter than the one before by 20."""
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width = stream.height = size
        stream.pix_fmt = pixels
        stream.codec_context.time_base = Fraction(1, 1000)
        for place, time in enumerate(times):
            level = np.full((size, size, 3), place * 20 % 256, np.uint8)
            frame = av.VideoFrame.from_ndarray(level, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


CLIP = written(range(0, 400, 40))


def levels(example, count: int = 3) -> list[int]:
    return [round(np.asarray(frame).mean() / 20) for frame in clip("x", example, count)]


@pytest.mark.parametrize("times, expected", [
    (range(0, 400, 40), [0, 4, 9]),
    ([0, 40, 80, 120, 500, 1000], [0, 4, 5]),  # a still, and then motion
    ([0, 800, 840, 880, 920, 1000], [0, 1, 5]),
])  # fmt: skip
def test_frames_are_chosen_by_time(times, expected):
    assert levels(written(times)) == expected


@pytest.mark.parametrize("kind, codec, pixels", [
    ("mp4", "libx264", "yuv420p"), ("mov", "libx264", "yuv420p"), ("webm", "libvpx-vp9", "yuv420p"),
    ("avi", "mpeg4", "yuv420p"), ("gif", "gif", "rgb8"), ("asf", "wmv2", "yuv420p"), ("flv", "flv1", "yuv420p"),
])  # fmt: skip
def test_reads_what_is_common(kind, codec, pixels):
    assert levels(written(range(0, 400, 40), kind, codec, 32, pixels), 2) == [0, 9]


@pytest.mark.parametrize("begun", ["concat:", "file:", "subfile,,start,0,end,0,,:", "crypto:", "async:", "cache:"])
def test_a_path_is_no_protocol(tmp_path, begun):
    (tmp_path / "a.mkv").write_bytes(CLIP)
    with pytest.raises(ValueError, match="is no readable video: .*No such file"):
        clip("x", f"{begun}{tmp_path / 'a.mkv'}", 2)
    with pytest.raises(ValueError, match="must be a file on this machine, got a URL"):
        clip("x", "http://127.0.0.1:9/a.mkv", 2)


@pytest.mark.parametrize("text", [
    "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{}\n#EXT-X-ENDLIST\n",
    "ffconcat version 1.0\nfile {}\n",
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period/></MPD>',
    "[Reference]\nRef1={}\n",
], ids=["hls", "concat", "sdp", "dash", "asx"])  # fmt: skip
@pytest.mark.parametrize("name", [None, "a.m3u8", "a.mp4"])
def test_a_list_of_other_files_is_no_clip(tmp_path, text, name):
    (tmp_path / "real.mkv").write_bytes(CLIP)
    example = text.format(tmp_path / "real.mkv").encode()
    if name is not None:
        (tmp_path / name).write_bytes(example)
        example = tmp_path / name
    with pytest.raises(ValueError, match="is no readable video: it is none of asf, avi, flv"):
        clip("x", example, 2)


def test_a_clip_is_known_by_what_is_in_it(tmp_path):
    (tmp_path / "a.m3u8").write_bytes(CLIP)
    assert levels(tmp_path / "a.m3u8", 2) == [0, 9]


def test_only_the_chosen_frames_are_held(monkeypatch):
    held = []
    monkeypatch.setattr(clips, "_upright", lambda frame: held.append(1) or frame.to_image())
    assert len(clip("x", CLIP, 4)) == 4 and len(held) == 4


def test_the_number_and_the_size_of_frames_are_bounded(monkeypatch):
    monkeypatch.setattr(clips, "MOST_FRAMES", 9)
    for example in (CLIP, [Image.new("RGB", (4, 4))] * 10, np.zeros((10, 4, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match="x must have at most 9 frames, got 10: divide it"):
            clip("x", example, 2)
    monkeypatch.setattr(clips, "MOST_FRAMES", 10)
    assert len(clip("x", CLIP, 2)) == 2
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 255)
    for example in (CLIP, [Image.new("RGB", (16, 16))] * 2):
        with pytest.raises(ValueError, match="x.* is no readable (video|image): .*pixels"):
            clip("x", example, 2)


def test_frames_are_pictures():
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    file = io.BytesIO()
    clear.save(file, "PNG")
    example = [clear, file.getvalue(), {"bytes": file.getvalue(), "path": None}]
    assert all((np.asarray(frame) == 255).all() for frame in clip("x", example, 3))
    with pytest.raises(ValueError, match="x, frame 1 is no readable image"):
        clip("x", [clear, b"broken"], 2)


def test_clear_parts_of_a_clip_are_laid_on_white():
    file = io.BytesIO()
    frames = [Image.new("RGBA", (8, 8), (0, 0, 0, 0)), Image.new("RGBA", (8, 8), (255, 0, 0, 255))]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=100, disposal=2)
    first, last = clip("x", file.getvalue(), 2)
    assert (np.asarray(first) == 255).all() and last.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("settings, message", [
    ({"size": 10**12}, "`size` must be at most 16,384, got 1000000000000"),
    ({"num_frames": 10**12}, "`num_frames` must be at most 100,000, got 1000000000000"),
    ({"fps": 1001}, "`fps` must be at most 1,000, got 1001"),
    ({"fps": float("nan")}, "`fps` must be a whole number of at least 1, got nan"),
    ({"size": True}, "`size` must be a whole number of at least 1, got True"),
    ({"size": "8"}, "`size` must be a whole number of at least 1, got '8'"),
])  # fmt: skip
def test_settings_are_bounded(settings, message):
    with pytest.raises(ValueError, match=message):
        VideoModality(**{"size": 8, "num_frames": 2, **settings})


@pytest.mark.parametrize("settings", [
    {"size": 10**12}, {"size": 8.0}, {"mean": [float("nan")] * 3}, {"mean": "abc"}, {"mean": [0.5]}, {"std": [0, 1, 1]},
    {"std": [10**400] * 3}, {"std": None}, {"mean": [True] * 3},
])  # fmt: skip
def test_settings_of_images_are_bounded(settings):
    with pytest.raises(ValueError, match=f"`{next(iter(settings))}` must be "):
        ImageModality(**{"size": 8, **settings})
