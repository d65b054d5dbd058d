from __future__ import annotations

import errno
import json
import resource
import signal

import pytest

from ttrl_env.agents.common.json_lines import append_record, cut_torn_end, read_records
from ttrl_env.errors import CheckpointError

GOOD = '{"iteration": 1}\n{"iteration": 2}\n'


@pytest.mark.parametrize(
    "torn",
    [b'{"iter', b'{"iteration": 3}', b"\0\0\0\0", b"\0\0\n\0\0\n", b"{\n", b"\n\n", b'{"a": "\xff'],
)
def test_what_a_crash_left_at_the_end_is_no_record(tmp_path, torn) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(GOOD.encode() + torn)
    assert read_records(file, ["iteration"]) == [{"iteration": 1}, {"iteration": 2}]
    cut_torn_end(file)
    assert file.read_text() == GOOD
    append_record(file, {"iteration": 3})
    assert [record["iteration"] for record in read_records(file)] == [1, 2, 3]


@pytest.mark.parametrize("garbage", ["garbage", "[1]", "3", '{"iteration": 1', '{"step": 4}'])
def test_a_line_among_the_records_that_is_none_is_named(tmp_path, garbage) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"iteration": 1}\n' + garbage + "\n" + GOOD)
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl, line 2: expected .* Remove that line"):
        read_records(file, ["iteration"])


def test_records_of_something_else_are_named_too(tmp_path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 4}\n')
    with pytest.raises(CheckpointError, match=r"line 1: expected a record with iteration"):
        read_records(tmp_path / "metrics.jsonl", ["iteration"])


def test_a_record_with_something_else_than_an_integer_is_named(tmp_path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text(GOOD + '{"iteration": 3.0}\n')
    with pytest.raises(CheckpointError, match=r"line 3: expected an integer as its iteration, got 3\.0"):
        read_records(file, integers=["iteration"])
    with pytest.raises(CheckpointError, match=r"line 1: expected a record with step"):
        read_records(file, integers=["step"])


def test_a_full_disk_is_an_error_that_names_the_file_and_leaves_whole_lines(tmp_path) -> None:
    file = tmp_path / "metrics.jsonl"
    append_record(file, {"iteration": 1})
    whole = file.read_text()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 10, hard))  # room for half a record
        with pytest.raises(OSError, match=r"metrics\.jsonl") as error:
            append_record(file, {"iteration": 2, "rewards": [0.5] * 1000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert (error.value.errno, error.value.filename) == (errno.EFBIG, str(file))
    assert file.read_text() == whole
    append_record(file, {"iteration": 2})
    assert [json.loads(line)["iteration"] for line in file.read_text().splitlines()] == [1, 2]
