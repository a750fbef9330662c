"""Functions and the first sentences of their docstrings, read out of Python and its installed packages."""

import ast
import re
import site
import sysconfig
import zlib
from collections.abc import Iterator
from pathlib import Path

from task import is_held_out

WORDS = range(3, 21)
"""How many words a sentence has."""
ARGUMENTS = 4
"""How many of its arguments are said of a function."""
SECTION = re.compile(r"^\s*(?:\w+:\s*|-{3,})$", re.MULTILINE)
SENTENCE = re.compile(r"(.+?)(?:[.!?:](?:\s|$)|\n\s*\n|$)", re.DOTALL)
PLAIN = re.compile(r"[A-Z](?:[\w ,;()'/.]|-(?!-))*")
NAME_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\w\s]")
MARKUP = re.compile(r":\w+:`~?([^`]*)`|`{1,2}([^`]*)`{1,2}")


def functions(cache_folder: Path):
    """All functions with a docstring that begins with a plain sentence; read once and kept in `cache_folder`.

    Returns:
        A `datasets.Dataset` with the columns `package`, `signature` (name, arguments, module and class, in words) and
        `sentence`; and, with an empty `signature`, the further sentences of all docstrings.
    """
    from datasets import Dataset, Features, Value

    text = Value("string")
    features = Features({"package": text, "signature": text, "sentence": text})
    sources = [(package, str(root), str(path)) for package, root, path in _sources()]
    # the key of the cache knows the arguments, and not what this file makes of them
    given = {"sources": sources, "made_by": zlib.crc32(Path(__file__).read_bytes())}
    return Dataset.from_generator(_read, features=features, gen_kwargs=given, cache_dir=str(cache_folder), num_proc=2)


def split(rows, pairs: int, unpaired: int, heldout: int):
    """Pairs, further sentences and held-out pairs. Whole packages are held out, and no sentence that is the same as one
    of training is measured on."""
    from datasets import Dataset

    table = list(zip(rows["package"], rows["signature"], rows["sentence"], strict=True))
    table.sort(key=lambda row: zlib.crc32("\t".join(row).encode()))
    trained = [(signature, sentence) for package, signature, sentence in table if not is_held_out(package)]
    known = {sentence for _, sentence in trained}
    held = [(a, b) for package, a, b in table if a and is_held_out(package) and b not in known]
    paired = _distinct([row for row in trained if row[0]])  # many functions of the same name say the same
    found = [paired[:pairs], _distinct(held)[:heldout]]
    further = [sentence for _, sentence in trained]
    further = list(dict.fromkeys(further))[:unpaired]
    as_pairs = [
        Dataset.from_dict({"signature": [a for a, _ in each], "sentence": [b for _, b in each]}) for each in found
    ]
    return as_pairs[0], Dataset.from_dict({"sentence": further}), as_pairs[1]


def _distinct(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """One pair of each sentence."""
    return list({sentence: (signature, sentence) for signature, sentence in pairs}.values())


def _sources() -> Iterator[tuple[str, Path, Path]]:
    """The files of Python and the installed packages, but for tests, each with the name of its package."""
    for root in map(Path, (sysconfig.get_paths()["stdlib"], *site.getsitepackages())):
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            if "site-packages" not in parts and not any("test" in part.lower() for part in parts):
                yield parts[0], root, path


def _read(sources: list[tuple[str, str, str]], made_by: int = 0) -> Iterator[dict[str, str]]:
    for package, root, path in sources:
        try:
            tree = ast.parse(Path(path).read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError, ValueError):
            continue  # a template, or of another Python
        module = ".".join(Path(path).relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        for signature, docstring in _documented(tree, module):
            for i, sentence in enumerate(sentences(docstring)):
                said = in_words(signature) if signature and not i else ""
                yield {"package": package, "signature": said, "sentence": sentence}


def _documented(node: ast.AST, place: str) -> Iterator[tuple[str, str]]:
    """Signature and docstring of what is defined in `node`; the signature is empty for modules and classes."""
    if docstring := ast.get_docstring(node):
        yield "", docstring
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.ClassDef):
            yield from _documented(inner, f"{place}.{inner.name}")
        elif isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) and (docstring := ast.get_docstring(inner)):
            every = [*inner.args.posonlyargs, *inner.args.args, *inner.args.kwonlyargs]
            names = [each.arg for each in every if each.arg not in ("self", "cls")]
            yield f"{inner.name}({', '.join(names[:ARGUMENTS])}) {place}", docstring


def sentences(docstring: str) -> list[str]:
    """The plain sentences of a docstring, without markup, up to its first section."""
    found = []
    section = SECTION.search(docstring)
    for match in SENTENCE.finditer(docstring[: section.start()] if section else docstring):
        text = MARKUP.sub(lambda each: each[1] or each[2] or "", " ".join(match[1].split()))
        if PLAIN.fullmatch(text) and len(text.split()) in WORDS:
            found.append(text)
        elif not found:
            break  # what does not begin with a sentence is no description
    return found


def in_words(signature: str) -> str:
    """`forward(x) torch.nn.LazyLinear` as `def forward ( x ) torch nn lazy linear`: names are made of words, none of
    them the first of the text, so that each has the piece that it has within a sentence."""
    return " ".join(["def", *(part.lower() for part in NAME_PART.findall(signature) if part not in "._")])
