"""A CSV of multi-labels: columns path, labels ("cat;dog" or "cat|dog") and, if the splits are to be its own, split."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgex.errors import DataError
from edgex.manifest import Task
from training.datasets import SPLITS, Split, multi_hot, read_labels, read_text, split_by_hash
from training.datasets.labelled_files import LabelledFiles

VAL_SHARE, TEST_SHARE = 0.1, 0.1


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    path: str
    labels: tuple[str, ...]
    split: str


class CsvDataset(LabelledFiles):
    """One split of a CSV of labelled pictures.

    Paths are relative to the CSV. An empty labels cell is a picture with no label. Without a column `split` the
    paths are split by hash, a tenth val and a tenth test, the same on every machine. The labels are all that occur
    in the file, sorted, or `labels.txt` beside it.

    Parameters
    ----------
    file : the CSV, UTF-8, with a header line
    split : "train", "val" or "test"

    Raises
    ------
    DataError
        If a column, a picture or the split is missing, a picture is listed twice, or a label is outside `labels.txt`.
    """

    task: Task = "multi-label"

    def __init__(self, file: Path, split: Split) -> None:
        rows = _read_rows(file)
        names = file.with_name("labels.txt")
        found = tuple(sorted({label for row in rows for label in row.labels}))
        self.labels: tuple[str, ...] = read_labels(names) if names.is_file() else found
        if not self.labels:
            raise DataError(f"expected labels in {file}, got none in {len(rows)} lines; fill the column labels")
        split_of = split_by_hash((row.path for row in rows), VAL_SHARE, TEST_SHARE)
        super().__init__()
        for row in rows:
            target, path = multi_hot(row.labels, self.labels, file), file.parent / row.path
            if (row.split or split_of[row.path]) != split:
                continue
            if not path.is_file():
                raise DataError(f"expected the picture {path}, line {row.line} of {file}, got no such file; restore it")
            self._samples.append((path, target))
        if not self._samples:
            raise DataError(
                f"expected pictures of the split {split} in {file}, got none of {len(rows)}; set it in the column split"
            )


def _read_rows(file: Path) -> list[_Row]:
    reader = csv.DictReader(io.StringIO(read_text(file), newline=""), skipinitialspace=True)
    rows: list[_Row] = []
    seen: set[str] = set()
    try:
        columns = [name.strip() for name in reader.fieldnames or ()]
        if not {"path", "labels"} <= set(columns):
            raise DataError(
                f"expected the columns path and labels in {file}, got {', '.join(columns)}; add a header line"
            )
        reader.fieldnames = columns
        for cells in reader:
            row = _read_row(cells, reader.line_num, file, has_split="split" in columns)
            if row.path in seen:
                raise DataError(
                    f"expected each picture once in {file}, got {row.path} again in line {row.line}; join the lines"
                )
            seen.add(row.path)
            rows.append(row)
    except csv.Error as error:
        raise DataError(f"expected a CSV in {file}, got {error} in line {reader.line_num}; correct it") from error
    return rows


def _read_row(cells: dict[str | Any, Any], line: int, file: Path, has_split: bool) -> _Row:
    if None in cells or None in cells.values():
        raise DataError(
            f"expected as many cells as the header names in line {line} of {file}, got others; quote commas"
        )
    path, split = cells["path"].strip(), (cells["split"].strip() if has_split else "")
    if not path:
        raise DataError(f"expected a path in line {line} of {file}, got an empty cell; fill it or remove the line")
    if has_split and split not in SPLITS:
        raise DataError(f"expected a split of {', '.join(SPLITS)} in line {line} of {file}, got {split!r}; correct it")
    labels = (label.strip() for label in re.split(r"[;|]", cells["labels"]))
    return _Row(line, path, tuple(label for label in labels if label), split)
