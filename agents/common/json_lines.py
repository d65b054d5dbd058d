"""Files with one JSON object a line, which grow during a job. A crash may leave an incomplete last line."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ttrl_env.errors import CheckpointError
from ttrl_env.machine.whole_files import naming


def append_record(file: Path, record: Mapping[str, Any], *, allow_nan: bool = True) -> None:
    """Append a record as one line; after an error, no part of the line remains.

    Raises:
        OSError: the line cannot be written, for example because the disk is full; names the file.
    """
    line = (json.dumps(record, allow_nan=allow_nan) + "\n").encode()
    with naming(file), file.open("ab", buffering=0) as out:
        before = out.seek(0, io.SEEK_END)
        try:
            while line:
                line = line[out.write(line) :]
        except OSError:
            out.truncate(before)
            raise


def read_records(
    file: Path, keys: Iterable[str] = (), *, integers: Iterable[str] = ()
) -> list[dict[str, Any]]:
    """The records of a file, in order, without an incomplete end that a crash left.

    Args:
        file: the file.
        keys: keys that every record must have.
        integers: keys that every record must have with integers as values.

    Raises:
        CheckpointError: a line before the last record is not a JSON object, or a record lacks a key or has
            another value than an integer.
    """
    return _read(file, keys, integers)[0]


def cut_torn_end(file: Path) -> None:
    """Truncate a file in place after the last record that :func:`read_records` returns."""
    length = _read(file)[1]
    if length < file.stat().st_size:
        os.truncate(file, length)


def _read(
    file: Path, keys: Iterable[str] = (), integers: Iterable[str] = ()
) -> tuple[list[dict[str, Any]], int]:
    """The records, and the length of the file in bytes up to the end of the last one."""
    records: list[dict[str, Any]] = []
    end = length = 0
    garbage: str | None = None
    for number, line in enumerate(file.read_bytes().splitlines(keepends=True), start=1):
        end += len(line)
        record = _record(line)
        if record is None and line.strip():
            garbage = garbage or f"{file}, line {number}: expected a JSON object, got {line[:60]!r}"
        if record is None:
            continue
        wrong = _wrong(record, keys, integers)
        if garbage or wrong:
            problem = garbage or f"{file}, line {number}: {wrong}"
            raise CheckpointError(f"{problem}. Remove that line, or move the file away")
        records.append(record)
        length = end
    return records, length


def _wrong(record: dict[str, Any], keys: Iterable[str], integers: Iterable[str]) -> str | None:
    """What a record lacks or has in the wrong form, or ``None``."""
    lacking = [key for key in (*keys, *integers) if key not in record]
    if lacking:
        return f"expected a record with {', '.join(lacking)}"
    for key in integers:
        if type(record[key]) is not int:
            return f"expected an integer as its {key}, got {record[key]!r}"
    return None


def _record(line: bytes) -> dict[str, Any] | None:
    """The object in a line; ``None`` if the line is incomplete or not a JSON object."""
    try:
        content = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and line.endswith(b"\n") else None
