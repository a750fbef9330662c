import pytest
from datasets import Dataset

from regen_hf import check_columns, readable_examples
from regen_hf.runtime.data_checks import is_stream

DATA = Dataset.from_dict({"text": ["a", "", "b", ""]})


def read(examples):
    if not all(examples):
        raise ValueError("it is empty")


def test_names_the_first_bad_example():
    with pytest.raises(ValueError, match="example 1, column 'text': it is empty"):
        readable_examples(DATA, {"text": read})


def test_leaves_bad_examples_out_and_says_so(capsys):
    assert readable_examples(DATA, {"text": read}, "skip")["text"] == ["a", "b"]
    message = "left out 2 of 4 examples that cannot be read; the first is example 1, column 'text': it is empty\n"
    assert capsys.readouterr().out == message
    with pytest.raises(ValueError, match="the dataset has no example that can be read; example 0, column 'text'"):
        readable_examples(DATA.select([1]), {"text": read}, "skip")


def test_examples_that_cannot_be_read_together_are_good_one_by_one():
    def read_one(examples):
        if len({len(each) for each in examples}) > 1:
            raise ValueError("they differ in length")

    words = Dataset.from_dict({"text": ["a", "bc", "d"]})
    assert readable_examples(words, {"text": read_one}) is words


@pytest.mark.parametrize("bad", [[0], [15, 16], [40], list(range(41))])
def test_finds_each_bad_example_among_many(bad):
    many = Dataset.from_dict({"text": ["" if i in bad else f"{i}" for i in range(41)]})
    with pytest.raises(ValueError, match=f"example {bad[0]}, column 'text': it is empty"):
        readable_examples(many, {"text": read})
    if len(bad) < 41:
        left = readable_examples(many, {"text": read}, "skip")["text"]
        assert left == [f"{i}" for i in range(41) if i not in bad]


def test_stops_at_the_first_bad_example_and_reads_what_is_too_much_at_once_one_by_one():
    seen = []

    def read_one(examples):
        if len(examples) > 1:
            raise MemoryError
        seen.extend(examples)
        read(examples)

    with pytest.raises(ValueError, match="example 1, column 'text': it is empty"):
        readable_examples(DATA, {"text": read_one})
    assert seen == ["a", ""]


def test_reads_good_examples_together():
    sizes = []
    readable_examples(Dataset.from_dict({"text": ["a"] * 41}), {"text": lambda examples: sizes.append(len(examples))})
    assert sum(sizes) == 41 and len(sizes) == 3


def test_good_data_stays_as_it_is():
    good = DATA.select([0, 2])
    assert readable_examples(good, {"text": read}) is good


def test_a_stream_is_checked_while_it_is_read():
    stream = DATA.to_iterable_dataset()
    assert is_stream(stream) and not is_stream(DATA)
    assert readable_examples(stream, {"text": read}) is stream
    assert [row["text"] for row in readable_examples(stream, {"text": read}, "skip")] == ["a", "b"]


def test_refuses_columns_and_words_it_does_not_know():
    with pytest.raises(ValueError, match="the dataset has no column 'image'; its columns are text"):
        check_columns(DATA, ["image"])
    with pytest.raises(ValueError, match="the dataset has no column 'image'; its columns are text"):
        check_columns(DATA.to_iterable_dataset(), ["image"])
    with pytest.raises(ValueError, match="`on_bad_example` must be 'raise' or 'skip', got 'drop'"):
        readable_examples(DATA, {"text": read}, "drop")


def failing(error: BaseException):
    def read_one(examples):
        if "" in examples:
            raise error

    return read_one


@pytest.mark.parametrize("error", [
    OSError("why"), KeyError("why"), RuntimeError("why"), RecursionError("why"), EOFError("why"), SyntaxError("why"),
    OverflowError("why"), ZeroDivisionError("why"), AssertionError("why"),
    UnicodeDecodeError("utf-8", b"x", 0, 1, "why"),
], ids=lambda error: type(error).__name__)  # fmt: skip
def test_whatever_is_raised_over_a_row_is_told_of_it(error, capsys):
    with pytest.raises(ValueError, match="example 1, column 'text': .*why") as raised:
        readable_examples(DATA, {"text": failing(error)})
    assert raised.value.__cause__ is error
    assert readable_examples(DATA, {"text": failing(error)}, "skip")["text"] == ["a", "b"]
    stream = readable_examples(DATA.to_iterable_dataset(), {"text": failing(error)}, "skip")
    assert [row["text"] for row in stream] == ["a", "b"]
    assert "left out 2 of 4 examples" in capsys.readouterr().out


@pytest.mark.parametrize("on_bad_example", ["raise", "skip"])
@pytest.mark.parametrize("kind", [NameError, AttributeError, ImportError, NotImplementedError, MemoryError])
def test_what_tells_of_code_or_of_the_machine_is_not_hidden(kind, on_bad_example):
    with pytest.raises(kind, match="why"):
        readable_examples(DATA, {"text": failing(kind("why"))}, on_bad_example)
    if on_bad_example == "skip":
        with pytest.raises(kind, match="why"):
            list(readable_examples(DATA.to_iterable_dataset(), {"text": failing(kind("why"))}, "skip"))


def test_an_interruption_is_not_a_bad_example():
    with pytest.raises(KeyboardInterrupt):
        readable_examples(DATA, {"text": failing(KeyboardInterrupt())}, "skip")


def test_a_row_that_datasets_itself_cannot_open_is_named():
    from datasets import Features
    from datasets import Image as ImageFeature

    rows = Dataset.from_dict({"y": [{"bytes": b"broken", "path": None}]}, features=Features({"y": ImageFeature()}))
    with pytest.raises(ValueError, match="example 0: UnidentifiedImageError: cannot identify"):
        readable_examples(rows, {"y": len})


def test_says_how_much_of_a_stream_is_left_out(capsys):
    rows = Dataset.from_dict({"text": ["", "a"] * 12}).to_iterable_dataset()
    assert len(list(readable_examples(rows, {"text": read}, "skip"))) == 12
    said = [line.split(";")[0] for line in capsys.readouterr().out.splitlines()]
    assert said == [f"left out {n} examples of a stream that cannot be read" for n in (1, 10)]
