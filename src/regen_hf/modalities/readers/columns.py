"""Columns of a dataset with files that datasets itself would open."""

import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from .pictures import as_stored


def leave_undecoded(dataset, column: str):
    """The `datasets.Dataset` or stream with all files in `column` as `{"bytes": ..., "path": ...}`.

    Opened by datasets, a file could be in any format, and one that is broken would not be named. What else datasets
    would do is kept: the `mode` of an image, but not in a stream, and a transform of the user's own, which gets images
    as before; sound and clips for it are left to datasets.
    """
    feature, transform = (getattr(dataset, "features", None) or {}).get(column), _transform(dataset)
    files = _undecoded(feature, transform is not None)
    if files == feature:
        return dataset
    found = _told(dataset, column, files)
    beyond = transform is not None or any(each.mode for each in _images(feature))
    if not beyond or not hasattr(dataset, "with_transform"):
        return found
    chosen = {name: dataset.format[name] for name in ("columns", "output_all_columns")}
    return found.with_transform(_Images(column, feature, transform), **chosen)


def _told(dataset, column: str, files: Any):
    """The dataset with another feature of the same storage; `cast_column` would write all anew if it is nested."""
    from datasets import Dataset, Features

    if hasattr(files, "decode_example") or not isinstance(dataset, Dataset):
        return dataset.cast_column(column, files)
    found = copy.deepcopy(dataset)
    found.info.features = Features({**dataset.features, column: files})
    return found


def undecoded(found: Any) -> Any:
    """A column of a dataset or of a stream with its files as they are; anything else as it is."""
    from datasets import Column, IterableColumn

    if not isinstance(found, Column | IterableColumn):
        return found
    if isinstance(found.source, Column | IterableColumn):  # an entry of each dictionary in a column
        return undecoded(found.source)[found.column_name]
    return leave_undecoded(found.source, found.column_name)[found.column_name]


def _transform(dataset) -> Callable[[dict], dict] | None:
    """The function by which the user changes rows as they are read."""
    form = getattr(dataset, "format", None) or {}
    return form["format_kwargs"].get("transform") if form.get("type") == "custom" else None


def users_transform(dataset) -> Callable[[dict], dict] | None:
    """The same without what [`leave_undecoded`] puts before it."""
    found = _transform(dataset)
    while isinstance(found, _Images):
        found = found.transform
    return found


def _parts(feature: Any) -> list:
    from datasets import LargeList, List

    if isinstance(feature, dict):
        return list(feature.values())
    return [feature.feature] if isinstance(feature, List | LargeList) else []


def _undecoded(feature: Any, images_only: bool) -> Any:
    """The same feature with its files as they are, at whatever depth."""
    from datasets import Audio, Image, Video

    if isinstance(feature, Image if images_only else Image | Audio | Video):
        return dataclasses.replace(feature, decode=False)
    parts = [_undecoded(each, images_only) for each in _parts(feature)]
    if isinstance(feature, dict):
        return dict(zip(feature, parts, strict=True))
    return dataclasses.replace(feature, feature=parts[0]) if parts else feature


def _images(feature: Any) -> Iterator[Any]:
    """Those that datasets would open."""
    from datasets import Image

    if isinstance(feature, Image) and feature.decode:
        yield feature
    for each in _parts(feature):
        yield from _images(each)


@dataclasses.dataclass
class _Images:
    """Says the mode of each image in a column or, for a transform of the user's own, opens it."""

    column: str
    feature: Any
    transform: Callable[[dict], dict] | None

    def __call__(self, batch: dict[str, list]) -> dict[str, list]:
        if self.column in batch:
            batch = {**batch, self.column: [self._made(self.feature, each) for each in batch[self.column]]}
        return batch if self.transform is None else self.transform(batch)

    def _made(self, feature: Any, value: Any) -> Any:
        from datasets import Image

        if value is None:
            return None
        if isinstance(feature, Image) and feature.decode:
            told = {**value, "mode": feature.mode}
            return told if self.transform is None else as_stored("an image", told)[0]
        if isinstance(feature, dict):
            return {name: self._made(each, value[name]) for name, each in feature.items()}
        return [self._made(each, one) for each in _parts(feature) for one in value] if _parts(feature) else value
