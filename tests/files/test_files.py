"""Files are whole or not there, on the disk when a write returns, and damage is noticed when they are read."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from slat_search import SlatError
from slat_search.files import (
    MANIFEST,
    append_line,
    check_signature,
    keep_digests,
    load_arrays,
    locked,
    read_json,
    read_lines,
    read_listed,
    save_arrays,
    signed,
    whole_folder,
    write_json,
    write_listed,
    write_text,
    writing,
)
from slat_search.files.locks import HeldError
from slat_search.run_folder import RunFolder


def no_space(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of what is synced from now on, in order."""
    paths: list[str] = []
    fsync = os.fsync

    def noted(handle: int) -> None:
        paths.append(os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    return paths


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(
        os, "fsync", lambda handle: done.append(os.readlink(f"/proc/self/fd/{handle}")) or fsync(handle)
    )
    monkeypatch.setattr(Path, "replace", lambda part, to: done.append(f"{to} is named") or replace(part, to))
    for name, write in (("a.json", lambda path: write_json(path, {})), ("a.bin", lambda p: save_arrays(p, {}))):
        done.clear()
        write(tmp_path / name)
        assert done == [str(tmp_path / f".{name}.part"), f"{tmp_path / name} is named", str(tmp_path)]
    done.clear()
    append_line(tmp_path / "log", {})
    assert done == [str(tmp_path / "log"), str(tmp_path)]


def test_a_new_folder_is_on_the_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: done.append(os.readlink(f"/proc/self/fd/{handle}")) or fsync(handle)
    )
    write_text(tmp_path / "a" / "b" / "c", "x")
    assert {str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")} <= set(done)


@pytest.mark.parametrize("write", [lambda p: write_text(p, "new"), lambda p: save_arrays(p, {"a": np.ones(9)})])
def test_a_full_disk_leaves_what_was_there_and_nothing_else(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        with pytest.raises(OSError, match="No space left"):
            write(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    write(path)
    assert path.read_bytes() != b"old"


def test_a_line_that_did_not_fit_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    append_line(path, {"n": 1})
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        with pytest.raises(OSError, match="No space left"):
            append_line(path, {"n": 2})
    append_line(path, {"n": 3})
    assert read_lines(path) == [{"n": 1}, {"n": 3}]


def test_lines_of_any_length_follow_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_TAIL_BYTES", 7)
    lines = [{"n": "x" * length} for length in (0, 1, 90, 3)]
    for line in lines:
        append_line(tmp_path / "log", line)
    assert read_lines(tmp_path / "log") == lines


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def half() -> None:
        with whole_folder(out) as part:
            (part / "a").write_text("half")
            no_space()

    with pytest.raises(OSError, match="No space left"):
        half()
    assert not [*tmp_path.iterdir()]
    out.mkdir()
    with whole_folder(out) as part:
        (part / "a").write_text("whole")
        assert not [*out.iterdir()]
    assert (out / "a").read_text() == "whole"
    assert [*tmp_path.iterdir()] == [out]


@pytest.mark.parametrize("tail", [b'{"n": 3, "dig', b"\0" * 50])
def test_a_torn_last_line_is_cut_off_with_a_warning(
    tail: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log"
    for n in (1, 2):
        append_line(path, {"n": n})
    path.write_bytes(path.read_bytes() + tail)
    assert read_lines(path) == [{"n": 1}, {"n": 2}]
    assert "its last line was not written whole, and is cut off" in caplog.text
    append_line(path, {"n": 3})
    assert read_lines(path) == [{"n": 1}, {"n": 2}, {"n": 3}]


@pytest.mark.parametrize("change", [lambda a: [a[0], a[2]], lambda a: [a[0], a[1], a[1], a[2]], lambda a: [a[1], a[0]]])
def test_a_line_that_is_missing_or_elsewhere_is_told(change: Any, tmp_path: Path) -> None:
    path = tmp_path / "log"
    for n in range(3):
        append_line(path, {"n": n})
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    with pytest.raises(SlatError, match=r"log, line \d: damaged \(its digest"):
        read_lines(path)


def test_lines_of_an_earlier_version_have_no_digest_and_the_next_one_covers_them(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text('{"n": 1}\n{"n": 2}\n')
    append_line(path, {"n": 3})
    assert [line["n"] for line in read_lines(path)] == [1, 2, 3]
    path.write_text(path.read_text().replace('"n": 2', '"n": 4'))
    with pytest.raises(SlatError, match="line 3: damaged"):
        read_lines(path)


def test_a_digest_is_of_values_and_not_of_their_order(tmp_path: Path) -> None:
    raw = signed({"a": 1, "b": (0.1, None), "c": {"x": True}})
    assert check_signature(dict(reversed(list(raw.items()))), "it") == {"a": 1, "b": (0.1, None), "c": {"x": True}}
    for other in ({"a": 1.0}, {"a": True}, {"b": [0.1]}, {"d": 1}):
        with pytest.raises(SlatError, match=r"it: damaged .*remove its field 'digest'"):
            check_signature({**raw, **other}, "it")


def test_a_process_killed_between_digest_and_table_leaves_nothing_that_looks_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_digests(tmp_path)
    write_listed(tmp_path / "a.csv", "one")
    with monkeypatch.context() as patch:
        patch.setattr("slat_search.files.listed.write_bytes", no_space)
        with pytest.raises(OSError, match="No space left"):
            write_listed(tmp_path / "a.csv", "two")
    assert read_listed(tmp_path / "a.csv") == b"one"
    write_listed(tmp_path / "a.csv", "three")
    assert read_listed(tmp_path / "a.csv") == b"three"
    (tmp_path / "a.csv").write_text("one")  # older than the last but one
    with pytest.raises(SlatError, match=r"a\.csv: damaged"):
        read_listed(tmp_path / "a.csv")
    (tmp_path / MANIFEST).unlink()
    assert read_listed(tmp_path / "a.csv") == b"one"


def test_arrays_are_those_that_were_written(tmp_path: Path) -> None:
    arrays: dict[str, np.ndarray] = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.zeros((0, 2)),
        "c": np.array([True]),
    }
    digest = save_arrays(tmp_path / "a", arrays)
    again = load_arrays(tmp_path / "a", digest)
    assert again.keys() == arrays.keys()
    assert all(
        np.array_equal(again[name], value) and again[name].dtype == value.dtype for name, value in arrays.items()
    )
    other = save_arrays(tmp_path / "b", {**arrays, "a": arrays["a"].reshape(3, 2)})
    assert other != digest
    with pytest.raises(SlatError, match="damaged, or of another adapter"):
        load_arrays(tmp_path / "b", digest)


def test_a_lock_is_held_once_where_flock_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    held = tmp_path / ".lock.held"
    with locked(tmp_path / ".lock"):
        with (
            pytest.raises(SlatError, match=f"another run is at work in .*process {os.getpid()}"),
            RunFolder(tmp_path).lock(),
        ):
            pass
        assert held.exists()
        assert RunFolder(tmp_path).is_at_work
    assert not held.exists()
    assert not RunFolder(tmp_path).is_at_work
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    held.write_text(json.dumps({"host": socket.gethostname(), "process": gone.pid}))
    assert not RunFolder(tmp_path).is_at_work
    with locked(tmp_path / ".lock"):
        assert read_json(held)["process"] == os.getpid()
    held.write_text(json.dumps({"host": "elsewhere", "process": 1}))
    assert RunFolder(tmp_path).is_at_work
    with pytest.raises(HeldError, match=r"process 1 on elsewhere; remove .* if it is gone"), locked(tmp_path / ".lock"):
        pass
    held.write_text("")
    with pytest.raises(HeldError, match="does not say which"), locked(tmp_path / ".lock"):
        pass


def test_a_run_that_was_killed_before_its_configuration_was_there_can_begin_again(tmp_path: Path) -> None:
    keep_digests(tmp_path)
    (tmp_path / "environment.json").write_text("{}")
    RunFolder(tmp_path).check_free()
    (tmp_path / "mine.txt").touch()
    with pytest.raises(SlatError, match="not a run folder"):
        RunFolder(tmp_path).check_free()


@pytest.mark.parametrize("content", [b"", b"{", b"\0\0\0"])
def test_a_cut_mark_of_a_finished_run_marks_nothing(content: bytes, tmp_path: Path) -> None:
    write_json(tmp_path / "done.json", {"seconds": 1.0})
    assert RunFolder(tmp_path).is_done
    (tmp_path / "done.json").write_bytes(content)
    assert not RunFolder(tmp_path).is_done


@pytest.mark.parametrize("mask", [0o022, 0o007, 0o077])
def test_all_files_have_the_mode_that_the_umask_says(
    mask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*arguments: Any) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    before, run = os.umask(mask), tmp_path / "run"
    try:
        write_json(run / "a.json", {})
        keep_digests(run)
        write_listed(run / "a.csv", "a")
        append_line(run / "a.jsonl", {})
        save_arrays(run / "a.safetensors", {"a": np.ones(2)})
        with whole_folder(run / "folder") as folder:
            save_file({"a": np.ones(2)}, folder / "a")
        with locked(run / ".lock"):
            found = {path: path.stat().st_mode & 0o777 for path in [run, *run.rglob("*")]}
    finally:
        os.umask(before)
    assert len(found) == 10
    for path, mode in found.items():
        assert mode == (0o777 if path.is_dir() else 0o666) & ~mask, path


@pytest.mark.parametrize("left", ["file", "folder", "pipe"])
def test_what_lies_in_the_place_of_a_temporary_file_is_replaced(tmp_path: Path, left: str) -> None:
    part = tmp_path / ".a.txt.part"
    {"file": part.touch, "folder": lambda: (part / "inside").mkdir(parents=True), "pipe": lambda: os.mkfifo(part)}[
        left
    ]()
    write_text(tmp_path / "a.txt", "whole")
    assert (tmp_path / "a.txt").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
