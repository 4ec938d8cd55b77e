"""Export raw samples as a table in tidy long form, one line per sample, as CSV or Parquet."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from edgehone.core.errors import InputError, SetupError
from edgehone.report.samples import Sample

COLUMNS = ("bundle", "candidate", "figure", "round", "index", "value", "unit")
# Bundle, candidate, sample.
Line = tuple[str, str, Sample]
# Lines per group of a Parquet file; one group is held in memory.
_GROUP = 100_000


def to_csv(lines: Iterable[Line], path: Path) -> int:
    """Write all lines to the file (`-` for standard output) and return their number.

    Raises InputError if the file cannot be written.
    """
    try:
        if str(path) == "-":
            return _csv(lines, sys.stdout)
        with path.open("w", encoding="utf-8", newline="") as file:
            return _csv(lines, file)
    except OSError as error:
        raise _unwritable(path, error) from error


def to_parquet(lines: Iterable[Line], path: Path) -> int:
    """Write all lines to the file, compressed, and return their number.

    Raises SetupError without pyarrow, InputError if the file cannot be written.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise SetupError(
            f"Parquet files need pyarrow, which cannot be imported: {error}",
            hint="pip install 'edgehone[parquet]', or give --csv FILE",
        ) from error
    words = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
    kinds = (words, words, words, pyarrow.int32(), pyarrow.int32(), pyarrow.float64(), words)
    schema = pyarrow.schema(list(zip(COLUMNS, kinds, strict=True)))
    count, rows = 0, _rows(lines)
    try:
        with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
            while group := list(islice(rows, _GROUP)):
                columns = [
                    pyarrow.array(column, kind)
                    for column, kind in zip(zip(*group, strict=True), kinds, strict=True)
                ]
                writer.write_table(pyarrow.Table.from_arrays(columns, schema=schema))
                count += len(group)
    except OSError as error:
        raise _unwritable(path, error) from error
    return count


def _csv(lines: Iterable[Line], file: TextIO) -> int:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    for count, row in enumerate(_rows(lines), 1):  # noqa: B007
        writer.writerow(row)
    return count


def _rows(lines: Iterable[Line]) -> Iterator[tuple[Any, ...]]:
    for bundle, candidate, one in lines:
        yield bundle, candidate, one.figure, one.round, one.index, one.value, one.unit


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path} cannot be written: {error.strerror or error}", hint="give another file")
