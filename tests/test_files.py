import json
import os
import stat
import threading
from pathlib import Path

import pytest

from mien import files


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_text_replaces_the_old_file(tmp_path):
    target = tmp_path / "new" / "a.txt"
    files.write_text(target, "one")
    files.write_text(target, "zwei, zweit: é")
    assert target.read_text(encoding="utf-8") == "zwei, zweit: é"
    assert names(target.parent) == ["a.txt"]


def test_a_failure_keeps_the_old_file_and_leaves_nothing(tmp_path):
    target = tmp_path / "a.txt"
    files.write_text(target, "old")

    def fail():
        with files.replacing(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_written_files_are_readable_like_any_new_file(tmp_path):
    files.write_text(tmp_path / "a.txt", "x")
    (tmp_path / "b.txt").write_text("x")
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == stat.S_IMODE(
        (tmp_path / "b.txt").stat().st_mode
    )


def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    target = tmp_path / "real" / "a.txt"
    link = tmp_path / "link.txt"
    link.symlink_to(target)
    for text in ("new", "newer"):
        files.write_text(link, text)
        assert link.is_symlink()
        assert target.read_text() == text
    assert names(tmp_path) == ["link.txt", "real"]
    assert names(target.parent) == ["a.txt"]


@pytest.mark.parametrize("linked", [False, True])
def test_a_pipe_is_written_into(tmp_path, linked):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    path = tmp_path / "link" if linked else pipe
    if linked:
        path.symlink_to(pipe)
    received = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()), daemon=True)
    reader.start()
    files.write_text(path, "text")
    reader.join(timeout=10)
    assert received == ["text"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert names(tmp_path) == (["link", "pipe"] if linked else ["pipe"])


def test_a_pipe_of_the_shell_is_written_into(tmp_path):
    # Such as /dev/stdout before `| less`: a link whose target has no name in any folder.
    ends = os.pipe()
    try:
        files.write_text(Path(f"/dev/fd/{ends[1]}"), "text")
        assert os.read(ends[0], 10) == b"text"
    finally:
        for end in ends:
            os.close(end)


def test_json_is_utf8_and_ends_with_a_newline(tmp_path):
    files.write_json(tmp_path / "a.json", {"name": "mien é", "values": [1, None]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text.endswith("}\n")
    assert "é" in text
    assert json.loads(text) == {"name": "mien é", "values": [1, None]}


def test_sha256_of_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert (
        files.sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
