"""Data sets in Hugging Face's layouts: a folder of parquet files, or a name on the hub."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from slimprune.bounded import files_below
from slimprune.data.decoding import choose_size
from slimprune.data.hub_rows import Columns, RowSamples
from slimprune.data.image_data import ImageData
from slimprune.data.mask_forms import MaskForm, check_sizes, find_form
from slimprune.data.parquet_rows import ParquetRows
from slimprune.data.quiet import quiet
from slimprune.data.streamed_data import STREAM_ABOVE, hold_or_stream
from slimprune.errors import DataError
from slimprune.files import cache_folder
from slimprune.preprocessing import image_size

TEST_SPLITS = ("test", "validation")
MASK_WORDS = ("mask", "label", "annotation", "segmentation")
_WORDS = ", ".join(map(repr, MASK_WORDS[:-1])) + f" or {MASK_WORDS[-1]!r}"
MOST_LABELS = 1000


def load_huggingface(
    name: str, source: str, image_size: int | None = None, stream_above: int = STREAM_ABOVE
) -> ImageData:
    """Load images with labels (one image column, one label column), with masks (two image columns) or with values.

    The training part is the split "train"; the test part is "test" or else "validation". A label column is a
    `ClassLabel` (the one called "label" if there are several). Without one, it is the only integer column with at most
    1,000 distinct values and at most half as many as rows. Without labels, all columns of floating-point numbers are
    the values of a regression. A mask column is an image column with "mask", "label", "annotation" or "segmentation" in
    its name; `find_form` says what its numbers mean.

    Images that share one size keep it if they have masks or are small (up to 64 pixels); others become squares of 224
    pixels. In training, small images are shifted by up to 4 pixels and larger ones by up to an eighth of their shorter
    side; both are flipped left and right. Images with masks are flipped and, if square, transposed. Images with values
    stay as they are.

    The `datasets` library keeps its converted copy in slimprune's cache folder. A folder is read without network
    access.

    Args:
        name: Name of the set in reports.
        source: A folder, or a name on the hub.
        image_size: Side in pixels that images are resized and cropped to.
        stream_above: Decoded size in bytes above which images are decoded each time they are read.

    Raises:
        DataError: If `datasets` is not installed, the data cannot be read or reached, or has other columns or splits.
    """
    return _opened(name, source, _load_splits(source), image_size, stream_above)


def load_parquet(name: str, source: str, image_size: int | None = None, stream_above: int = STREAM_ABOVE) -> ImageData:
    """Load what `load_huggingface` loads from a folder of parquet files, without a converted copy of them.

    Files belong to the split with which their names begin, as train-00000-of-00008.parquet does, or that of their
    folder. Training images come in an order that mixes the rows of few row groups at a time; see `ParquetRows`.

    Args:
        name: Name of the set in reports.
        source: A folder.
        image_size: Side in pixels that images are resized and cropped to.
        stream_above: Decoded size in bytes above which images are decoded each time they are read.

    Raises:
        DataError: If `datasets` is not installed, the files cannot be read, or have other columns or splits.
    """
    _library()
    found = _parquet_files(Path(os.path.expanduser(source)))
    splits = {split: ParquetRows.of(files) for split, files in found.items() if files}
    if not splits:
        raise DataError(f"expected parquet files train*.parquet and test*.parquet in {source!r}, found none")
    return _opened(name, source, splits, image_size, stream_above)


def _parquet_files(folder: Path) -> dict[str, list[Path]]:
    """Return the parquet files of each split below a folder, in order of their paths."""
    try:
        found = sorted(path for path in files_below(folder, hidden=False) if path.suffix == ".parquet")
    except OSError as error:
        raise DataError(f"expected a folder that can be read, got {error.filename}: {error.strerror}") from error
    return {
        split: [path for path in found if path.name.startswith(split) or path.parent.name == split]
        for split in ("train", *TEST_SPLITS)
    }


def _opened(name: str, source: str, splits: Any, wanted: int | None, stream_above: int) -> ImageData:
    """Return the data of the splits, which are rows as those of `datasets`."""
    test_split = next((split for split in TEST_SPLITS if split in splits), None)
    if "train" not in splits or test_split is None:
        raise DataError(f"expected splits train and test (or validation) in {source!r}, got {', '.join(splits)}")
    columns = _find_columns(splits["train"], source)
    train, test = (_rows(splits[split], split, columns, source) for split in ("train", test_split))
    masks, names = columns.kind == "masks", columns.class_names
    sizes = (image_size(*file) for part in (train, test) for file in part.files_of(columns.image))
    task = {"labels": "classification", "values": "regression"}.get(columns.kind)
    size, form = choose_size(sizes, wanted, keep_large=masks), MaskForm(1)
    if masks:
        (column,) = columns.targets
        form = find_form(train.files_of(column), repr(source))
        form.check_all(test.files_of(column))
        for part in (train, test):
            check_sizes(part.files_of(columns.image), part.files_of(column))
        task, names = form.task, names if form.classes == 1 else tuple(map(str, range(form.classes)))
    train, test = (replace(part, size=size, form=form) for part in (train, test))
    return hold_or_stream(name, train, test, names, stream_above, task=task)


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            "expected the package datasets for hf: data, found none (pip install 'slimprune[hf]')"
        ) from error
    return datasets


def _load_splits(source: str) -> Any:
    """Return the `datasets.DatasetDict`; exceptions of the library become a `DataError` of one line."""
    datasets, folder = _library(), Path(os.path.expanduser(source))
    if not folder.is_dir() and source.startswith((".", "/", "~")):
        raise DataError(f"expected a folder or a name on the Hugging Face hub, found no folder {source!r}")
    path, cache = str(folder.resolve()) if folder.is_dir() else source, str(cache_folder() / "huggingface")
    try:
        with quiet(), _network(datasets, allowed=not folder.is_dir()):
            return datasets.load_dataset(path, cache_dir=cache)
    except Exception as error:
        cause = error.__cause__ or error
        reason = " ".join(f"{type(cause).__name__}: {cause}".split())[:300]
        raise DataError(
            f"expected a readable data set in a folder or on the hub at {source!r}, got {reason}"
        ) from error


@contextmanager
def _network(datasets: Any, allowed: bool) -> Iterator[None]:
    """Keep the library offline in the context, as with HF_HUB_OFFLINE, unless network access is allowed."""
    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = before or not allowed
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _find_columns(rows: Any, source: str) -> Columns:
    datasets, features = _library(), rows.features
    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    masks = [name for name in images if any(word in name.lower() for word in MASK_WORDS)]
    if len(images) == 2 and len(masks) == 1:
        image = next(name for name in images if name not in masks)
        return Columns(image, (masks[0],), "masks", labels={}, class_names=(masks[0],))
    if len(images) != 1 or masks:
        raise DataError(
            f"expected one image column, or two of which one has {_WORDS} in its name, in {source!r}, "
            f"got {', '.join(images) or 'none'}"
        )
    labels = _label_columns(rows)
    values = tuple(name for name, feature in features.items() if "float" in str(getattr(feature, "dtype", "")))
    if len(labels) == 1:
        ((label, indices),) = labels.items()
        return Columns(
            images[0], (label,), "labels", {value: n for n, value in enumerate(indices.values())}, tuple(indices)
        )
    if values and not labels:
        return Columns(images[0], values, "values", labels={}, class_names=values)
    raise DataError(
        f"expected one label column, or columns of floating-point numbers, in {source!r}, "
        f"got {', '.join(labels) or 'none'} of {', '.join(features)}"
    )


def _label_columns(rows: Any) -> dict[str, dict[str, int]]:
    """Return the values in each column that could be the labels, by class name, in order of the class index."""
    features = rows.features
    named = {name: feature.names for name, feature in features.items() if isinstance(feature, _library().ClassLabel)}
    if not named:
        return {name: {str(value): value for value in values} for name, values in _few_valued(rows).items()}
    chosen = {"label": named["label"]} if "label" in named else named
    return {column: {name: index for index, name in enumerate(names)} for column, names in chosen.items()}


def _few_valued(rows: Any) -> dict[str, list[int]]:
    """Find the integer columns that could be labels, each with its distinct values in ascending order."""
    candidates = [name for name, feature in rows.features.items() if "int" in str(getattr(feature, "dtype", ""))]
    distinct = {name: sorted(value for value in rows.unique(name) if value is not None) for name in candidates}
    most = min(MOST_LABELS, len(rows) // 2)
    return {name: values for name, values in distinct.items() if 0 < len(values) <= most}


def _rows(rows: Any, split: str, columns: Columns, source: str) -> RowSamples:
    """Return the rows of a split with encoded images, so that this package decodes them and reports errors."""
    datasets = _library()
    names = [columns.image, *columns.targets]
    absent = [name for name in names if name not in rows.features]
    if absent or len(rows) == 0:
        found = f"no column {absent[0]!r}" if absent else "no rows"
        raise DataError(f"expected rows with the columns of train in split {split} of {source!r}, found {found}")
    rows = rows.select_columns(names)
    for name in names if columns.kind == "masks" else names[:1]:
        rows = rows.cast_column(name, datasets.Image(decode=False))
    return RowSamples(rows, f"{split} in {source!r}", columns)
