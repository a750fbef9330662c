"""Scores, whatever they come as, to music21's streams."""

import io
import re
import zipfile
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

from .opening import file_of, opened

MOST_BYTES = 2**26
"""64 MiB; an orchestra's scores have some ten, and an archive of a few bytes may hold any number."""
MOST_MIDI_BYTES = 2**19
"""An hour at a piano has as many."""
MOST_TRACKS = 128
"""More than an orchestra has."""
MOST_NOTES = 50_000
"""With all else that has a place in a measure; a symphony has some ten thousand, and music21 reads 1,000 a second."""
MOST_MEASURES = 2_000
"""In a voice; a symphony's movement has at most 1,500, and music21 takes a time that grows with the square."""
MOST_IN_A_MEASURE = 1_000
"""Notes and all else, or records of Humdrum."""
MOST_SIGNATURES = 1_000
"""Of time and key in a voice; music21 compares each with all."""
MOST_QUARTERS = 10_000
"""In a voice, over an hour at 120 a minute. A few bytes say how long a rest is."""
MOST_BEATS = 64
"""In a measure: music21 divides it in a time that grows with their square."""
DEEPEST = 100
"""Of elements in each other; MusicXML has about ten."""
FORMATS = "MIDI, MusicXML, compressed MusicXML or Humdrum"


def as_stream(name: str, example: Any, steps_per_quarter: int):
    """A music21 stream.

    Args:
        name: what messages call it, unless it is in a file.
        example: a path or bytes of one of `FORMATS`, found by the content; or a music21 stream.

    Raises:
        TypeError: for anything else.
        ValueError: for what is in none of `FORMATS` or broken, or exceeds one of the bounds above.
        ImportError: where the package music21 is missing.
    """
    try:
        from music21 import stream
    except ImportError as error:
        raise ImportError("scores need the package music21: pip install 'regen_hf[music]'.") from error
    name, file = file_of(name, example)
    found = example
    if file is not None:
        with opened(name, "score", file) as source:
            found = _parsed(_at_most(source), steps_per_quarter)
    if isinstance(found, stream.Opus):
        raise ValueError(f"{name} holds {len(found.scores)} scores, but each must come by itself.")
    if not isinstance(found, stream.Stream):
        kind = type(example).__name__
        raise TypeError(f"{name} must be a path or bytes of a score, a music21 stream or codes, got {kind}.")
    return found


def _at_most(source) -> bytes:
    content = source.read(MOST_BYTES + 1)
    check("bytes or more", len(content), MOST_BYTES)
    return content


def _parsed(content: bytes, steps_per_quarter: int):
    if content.startswith(b"PK\3\4"):
        content = _unpacked(content)
    start = content.lstrip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n")
    if content.startswith(b"MThd"):
        return _midi(content, steps_per_quarter)
    if start.startswith(b"<"):
        return _music_xml(content)
    if start.startswith((b"!!", b"**")):
        return _humdrum(content)
    raise ValueError(f"it is none of {FORMATS}")


def _unpacked(content: bytes) -> bytes:
    """The score in an archive, by the name that its container gives."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        with archive.open("META-INF/container.xml") as file:
            roots = [each for each in _tree(_at_most(file)).iter() if each.tag.rpartition("}")[2] == "rootfile"]
        if not roots:
            raise ValueError("its container names no score")
        with archive.open(roots[0].get("full-path", "")) as file:
            return _at_most(file)


def _midi(content: bytes, steps_per_quarter: int):
    """The notes of each track that has any, on the usual grids and on that of the modality."""
    from music21 import stream
    from music21.midi import ChannelVoiceMessages, MetaEvents, MidiFile
    from music21.midi.translate import midiTrackToStream

    class Unmeasured(stream.Part):
        """Notes as they are: measures, and ties and rests between them, would cost the square of the length."""

        def makeMeasures(self, **_):
            return self

        makeTies = makeRests = makeMeasures

    check("bytes", len(content), MOST_MIDI_BYTES)
    file = MidiFile()
    file.readstr(content)
    per_quarter = file.ticksPerQuarterNote
    if not per_quarter:
        raise ValueError("its quarters have no ticks")
    check("tracks", len(file.tracks), MOST_TRACKS)
    events = [event for track in file.tracks for event in track.events]
    quarters = [sum(event.time for event in track.events) / per_quarter for track in file.tracks]
    check("quarters", max(quarters, default=0), MOST_QUARTERS)
    check("quarters in all tracks", sum(quarters), 20 * MOST_QUARTERS)
    check("notes", sum(event.type == ChannelVoiceMessages.NOTE_ON for event in events), MOST_NOTES)
    for event in events:
        if event.type == MetaEvents.TIME_SIGNATURE and event.data:
            check("beats in a measure", event.data[0], MOST_BEATS)
    score = stream.Score()
    for track in file.tracks:
        if track.hasNotes():
            track.events = _notes(track.events)
            grids = (12, 16, steps_per_quarter)
            score.insert(0, midiTrackToStream(
                track, ticksPerQuarter=per_quarter, quarterLengthDivisors=grids, inputM21=Unmeasured()
            ))  # fmt: skip
    return score


def _notes(events: list) -> list:
    """Where notes begin and end, each after the time since the one before it, without all else."""
    found, since = [], 0
    for event in events:
        if event.isDeltaTime():
            waited = event
            since += event.time
        elif event.isNoteOn() or event.isNoteOff():
            waited.time, since = since, 0
            found += [waited, event]
    return found


def _music_xml(content: bytes):
    from music21 import converter

    root = _tree(content)
    placed = sum(1 + len(measure) for measure in root.iter("measure"))
    check("notes and other things in measures", placed, MOST_NOTES)
    for part in root.iter("part"):
        measures = list(part.iter("measure"))
        check("measures", len(measures), MOST_MEASURES)
        check("things in a measure", max(map(len, measures), default=0), MOST_IN_A_MEASURE)
        check("signatures", sum(each.tag in ("time", "key") for each in part.iter()), MOST_SIGNATURES)
    for beats in root.iter("beats"):
        _check_beats(beats.text or "")
    # written anew: music21 takes bytes for UTF-8, whatever they say
    return converter.parseData(ElementTree.tostring(root, encoding="unicode"), format="musicxml")


def _tree(content: bytes) -> ElementTree.Element:
    """XML without entities of its own, which could stand for other files or, in each other, for any amount of text."""
    depth = 0

    def begin(*_) -> None:
        nonlocal depth
        depth += 1
        if depth > DEEPEST:
            raise ValueError(f"its elements are more than {DEEPEST} deep in each other")

    def end(_) -> None:
        nonlocal depth
        depth -= 1

    def refuse(name: str, *_) -> None:
        raise ValueError(f"it declares the entity {name!r}, which is not read")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler, parser.EntityDeclHandler = begin, end, refuse
    parser.Parse(content, True)
    return ElementTree.fromstring(content)


def _humdrum(content: bytes):
    from music21 import converter

    text = content.decode("utf-8", "replace")
    notes = [line for line in text.splitlines() if not line.startswith("!")]
    check("notes and other records", sum(len(line.split()) for line in notes), 4 * MOST_NOTES)
    measures = re.split(r"^=.*$", "\n".join(notes), flags=re.MULTILINE)
    check("measures", len(measures), MOST_MEASURES)
    check("records in a measure", max(each.count("\n") for each in measures), MOST_IN_A_MEASURE)
    check("signatures", len(re.findall(r"^\*(?:M\d|k\[)", text, flags=re.MULTILINE)), MOST_SIGNATURES)
    if number := re.search(r"\d{7,}", "\n".join(notes)):
        raise ValueError(f"it has the number {number[0][:20]}, which is too large for a duration")
    for beats in re.findall(r"^.*\*M\d.*$", text, flags=re.M):
        for each in re.findall(r"\*M([\d+]+)", beats):
            _check_beats(each)
    return converter.parseData(text, format="humdrum")


def _check_beats(text: str) -> None:
    check("beats in a measure", sum(map(int, re.findall(r"\d+", text))), MOST_BEATS)


def check(what: str, found: float, most: int) -> None:
    """Raises `ValueError` for more than there may be, or NaN."""
    if not found <= most:
        raise ValueError(f"it has {found:,.0f} {what}, more than {most:,}")
