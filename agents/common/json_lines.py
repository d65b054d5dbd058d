"""Files of one JSON object a line, that grow while a job runs and may end in what a crash left of a line."""

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
    """Add a line, whole or not at all.

    Raises:
        OSError: it cannot be written, as where the disk is full; names the file.
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


def read_records(file: Path, keys: Iterable[str] = ()) -> list[dict[str, Any]]:
    """The records of a file, in order, without what a crash left of lines at its end.

    Args:
        file: the file.
        keys: what every record has.

    Raises:
        CheckpointError: a line before the last record is no JSON object, or a record lacks a key.
    """
    return _read(file, keys)[0]


def cut_torn_end(file: Path) -> None:
    """Take from the end of a file, in place, what :func:`read_records` leaves out."""
    length = _read(file, ())[1]
    if length < file.stat().st_size:
        os.truncate(file, length)


def _read(file: Path, keys: Iterable[str]) -> tuple[list[dict[str, Any]], int]:
    """The records, and how many bytes of the file they take."""
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
        lacking = [key for key in keys if key not in record]
        if garbage or lacking:
            problem = garbage or f"{file}, line {number}: expected a record with {', '.join(lacking)}"
            raise CheckpointError(f"{problem}. Remove that line, or move the file away")
        records.append(record)
        length = end
    return records, length


def _record(line: bytes) -> dict[str, Any] | None:
    """The object that a line is; ``None`` if it is none, or is not ended."""
    try:
        content = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and line.endswith(b"\n") else None
