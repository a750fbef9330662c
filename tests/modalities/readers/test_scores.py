import io
import struct
import zipfile

import pytest
from music21 import note, stream

from regen_hf import ScoreModality, readable_examples
from regen_hf.modalities.readers import scores

ONE = ScoreModality(voices=1)
HALF = [[[26, 1, 1, 1]]]  # C4 for two quarters
KEY = "<attributes><key><fifths>1</fifths></key></attributes>"
END = b"\0\xff\x2f\0"
NOTE = "<note><pitch><step>C</step><octave>4</octave></pitch><duration>{}</duration></note>"
BEATS = "<attributes><time><beats>{}</beats><beat-type>4</beat-type></time></attributes>"


def ticks(count: int) -> bytes:
    found = [count & 127]
    while count := count >> 7:
        found.append(count & 127 | 128)
    return bytes(reversed(found))


def played(after: int = 0, length: int = 192) -> bytes:
    return ticks(after) + bytes([0x90, 60, 80]) + ticks(length) + bytes([0x80, 60, 0])


def midi(*tracks: bytes, per_quarter: int = 96) -> bytes:
    body = b"".join(b"MTrk" + struct.pack(">I", len(each + END)) + each + END for each in tracks)
    return b"MThd" + struct.pack(">IHHH", 6, 1, len(tracks), per_quarter) + body


def xml(*notes: str, before: str = "") -> str:
    parts = '<part-list><score-part id="P"><part-name>a</part-name></score-part></part-list>'
    measure = f'<measure number="1"><attributes><divisions>1</divisions></attributes>{"".join(notes)}</measure>'
    return f'<?xml version="1.0"?>{before}<score-partwise>{parts}<part id="P">{measure}</part></score-partwise>'


def mxl(score: str, name: str = "a.xml", container: str | None = None) -> bytes:
    root = f'<container><rootfiles><rootfile full-path="{name}"/></rootfiles></container>'
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.xml", score)
        archive.writestr("META-INF/container.xml", root if container is None else container)
    return file.getvalue()


HALF_NOTE = NOTE.format(2)
DTD = '<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 1.1 Partwise//EN" "http://127.0.0.1:9/partwise.dtd">'


@pytest.mark.parametrize("content", [
    midi(played()),
    xml(HALF_NOTE).encode(),
    xml(HALF_NOTE, before=DTD).encode(),
    b"\xef\xbb\xbf" + xml(HALF_NOTE).encode(),
    xml(HALF_NOTE).replace("?>", ' encoding="utf-16"?>', 1).encode("utf-16"),
    mxl(xml(HALF_NOTE)),
    b"**kern\n*M4/4\n2c\n*-\n",
], ids=["midi", "xml", "dtd", "mark", "utf-16", "mxl", "humdrum"])  # fmt: skip
@pytest.mark.parametrize("name", [None, "a.p", "a.abc"])
def test_scores_are_known_by_what_is_in_them(tmp_path, content, name):
    if name is not None:
        (tmp_path / name).write_bytes(content)
    assert ONE.as_target([content if name is None else tmp_path / name])["target"].tolist() == HALF


@pytest.mark.parametrize("content", [
    b"X:1\nM:4/4\nL:1/4\nK:C\nCDEF|\n", b"\x80\x04K\x01.", b'<mei xmlns="http://www.music-encoding.org/ns/mei"/>',
    b"tinyNotation: 4/4 c4", b"", b"PK\3\4", b"MThd", mxl("x", container="<container/>"),
    mxl(xml(HALF_NOTE), "../../../etc/passwd"), b"<score-timewise/>", b'%PDF-1.4',
], ids=range(11))  # fmt: skip
@pytest.mark.parametrize("name", [None, "a.mid", "a.p"])
def test_nothing_else_is_read(tmp_path, content, name):
    if name is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="is no readable score: "):
        ONE.as_target([content if name is None else tmp_path / name])


@pytest.mark.parametrize("text", ["tinyNotation: 4/4 c4", "bach/bwv66.6", "X:1\nK:C\nC|", "https://127.0.0.1:9/a.mid"])
def test_a_text_is_a_path(text):
    with pytest.raises(ValueError, match="is no readable score: .*No such file|got a URL"):
        ONE.as_target([text])


ENTITIES = '<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize("entities", [
    ENTITIES, '<!ENTITY i SYSTEM "file:///etc/hostname">', '<!ENTITY % i SYSTEM "http://127.0.0.1:9/x">%i;',
    '<!ENTITY i "a">',
])  # fmt: skip
@pytest.mark.parametrize("packed", [False, True])
def test_entities_are_refused(entities, packed):
    score = xml("<direction>&i;</direction>" if "% i" not in entities else "", before=f"<!DOCTYPE x [{entities}]>")
    with pytest.raises(ValueError, match="target 0 is no readable score: it declares the entity '[ai]', which is not"):
        ONE.as_target([mxl(score) if packed else score.encode()])


@pytest.mark.parametrize("example, steps", [
    (midi(played(length=96 * 9999)), 19998),
    (midi(*[played(after=96 * 500)] * 100), 1004),
    (midi(b"\1\xff\x58\4\4\2\x18\x08" * 30000 + played()), 629),
    (midi(b"\1\xff\x59\2\0\0" * 30000 + played()), 629),
    (midi(b"\1\x90\x3c\x40" * 800 + b"\1\x80\x3c\0" * 800), 18),
    (midi(played() + b"\x30\xff\1\0" * 4 + played()), 12),
], ids=["length", "tracks", "times", "keys", "overlaps", "texts"])  # fmt: skip
def test_what_a_few_bytes_of_midi_say_is_read_at_once(example, steps):
    assert ONE.as_source([example])["input_ids"].shape == (1, steps)


def placed(offset: float, quarters: float) -> stream.Part:
    part = stream.Part()
    part.insert(offset, note.Note("C4", quarterLength=quarters))
    return part


FAR = r"target 0 is no readable score: it has [\d,]+ quarters, more than 10,000"


@pytest.mark.parametrize("example, message", [
    (midi(played() + played(after=2_000_000)), FAR),
    (midi(played(length=2**28 - 1)), FAR),
    (midi(played() + played(after=20_000), per_quarter=1), FAR),
    (midi(*[played(after=96 * 9000)] * 30), "it has 270,060 quarters in all tracks, more than 200,000"),
    (xml(NOTE.format(10**9)).encode(), FAR),
    (xml("<forward><duration>1000000000</duration></forward>", HALF_NOTE).encode(), FAR),
    (b"**kern\n1%99999999c\n*-\n", "it has the number 99999999, which is too large for a duration"),
    (placed(0, 10**9), FAR),
    (placed(10**9, 1), FAR),
    (placed(-5, 1), "it has a note from quarter -5 to -4"),
    (midi(b"\0\xff\x58\4\xff\2\x18\x08" + played()), "it has 255 beats in a measure, more than 64"),
    (xml(BEATS.format(1000), HALF_NOTE).encode(), "it has 1,000 beats in a measure, more than 64"),
    (xml(BEATS.format("60+60"), HALF_NOTE).encode(), "it has 120 beats in a measure, more than 64"),
    (b"**kern\n*M1000/4\n4c\n*-\n", "it has 1,000 beats in a measure, more than 64"),
    (xml("<a>" * 1000 + "</a>" * 1000).encode(), "its elements are more than 100 deep in each other"),
    (xml(NOTE.format("nan")).encode(), "NaN"),
    (midi(played(), per_quarter=0), "its quarters have no ticks"),
    (midi(*[played()] * 129), "it has 129 tracks, more than 128"),
    (xml("</measure><measure>" * 2000, HALF_NOTE).encode(), "it has 2,001 measures, more than 2,000"),
    (xml(*[HALF_NOTE] * 1000).encode(), "it has 1,001 things in a measure, more than 1,000"),
    (xml("".join([KEY * 500, "</measure><measure>", KEY * 501]), HALF_NOTE).encode(), "it has 1,001 signatures, more"),
    (b"**kern\n4c\n" + b"=\n" * 2000 + b"*-\n", "it has 2,001 measures, more than 2,000"),
    (b"**kern\n" + b"4c\n" * 1000 + b"*-\n", "it has 1,001 records in a measure, more than 1,000"),
    (b"**kern\n4c\n" + b"*k[f#]\n=\n" * 1001 + b"*-\n", "it has 1,001 signatures, more than 1,000"),
], ids=range(24))  # fmt: skip
def test_what_a_number_in_a_file_costs_is_bounded(example, message):
    with pytest.raises(ValueError, match=message):
        ONE.as_target([example])


def test_the_number_of_notes_and_bytes_is_bounded(monkeypatch):
    monkeypatch.setattr(scores, "MOST_NOTES", 3)
    for example in (midi(played(length=12) * 4), xml(*[HALF_NOTE] * 4).encode(), b"**kern\n" + b"4c\n" * 20 + b"*-\n"):
        with pytest.raises(ValueError, match="target 0 is no readable score: it has .* more than (3|12)"):
            ONE.as_target([example])
    monkeypatch.setattr(scores, "MOST_NOTES", 50)
    monkeypatch.setattr(scores, "MOST_BYTES", 300)
    packed, packed_container = mxl(xml(HALF_NOTE) + " " * 9999), mxl(xml(HALF_NOTE), container=" " * 9999)
    for example in (xml(HALF_NOTE, HALF_NOTE).encode(), packed, packed_container):
        with pytest.raises(ValueError, match="target 0 is no readable score: it has .* bytes or more, more than 300"):
            ONE.as_target([example])
    monkeypatch.setattr(scores, "MOST_MIDI_BYTES", 20)
    with pytest.raises(ValueError, match="target 0 is no readable score: it has .* bytes, more than 20"):
        ONE.as_target([midi(played())])


def test_bad_scores_are_left_out(capsys):
    from datasets import Dataset

    rows = Dataset.from_dict({"score": [midi(played()), midi(played() + played(2_000_000)), b"no score"]})
    assert len(readable_examples(rows, {"score": ONE.as_target}, "skip")) == 1
    assert "left out 2 of 3 examples" in capsys.readouterr().out


@pytest.mark.parametrize("settings", [
    {"voices": 10**9}, {"voices": True}, {"steps_per_quarter": 10**9}, {"steps_per_quarter": 2.0}, {"lowest": "36"},
    {"lowest": float("nan")}, {"highest": True}, {"lowest": [1]},
])  # fmt: skip
def test_settings_are_bounded(settings):
    with pytest.raises(ValueError, match=f"`{next(iter(settings))}`.* must be "):
        ScoreModality(**settings)


@pytest.mark.parametrize("codes", [[[0.5, 1.0]], [[float("nan")]], [[True]], [[1j]], [[10**30]], [[[[[1]]]]]])
def test_codes_are_whole_numbers(codes):
    with pytest.raises(ValueError, match="target 0 must be whole numbers"):
        ONE.as_target([codes])
