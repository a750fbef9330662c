"""Which names are held out, and what is learned from without a name."""

import re

from task import is_held_out


def split(dataset, column: str):
    """Training rows, held-out rows, and which of the held-out have no word that training lacks."""
    texts = dataset[column]
    held = [i for i, text in enumerate(texts) if is_held_out(text)]
    trained = [i for i, text in enumerate(texts) if not is_held_out(text)]
    known = {word for i in trained for word in words(texts[i])}
    asked = [k for k, i in enumerate(held) if known.issuperset(words(texts[i]))]
    return dataset.select(trained), dataset.select(held), asked


def words(text: str) -> list[str]:
    """Words and punctuation marks, in lower case."""
    return re.findall(r"\w+|[^\w\s]+", text.lower())


def mirrored(dataset, column: str):
    """The pictures as in a mirror. Their names may not fit them any more, so they are Y without X."""
    from datasets import Image
    from PIL import ImageOps

    pictures = dataset.select_columns([column]).cast_column(column, Image())
    return pictures.map(lambda row: {column: ImageOps.mirror(row[column])}, desc="mirror")
