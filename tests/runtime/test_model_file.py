"""What a file from outside must be before anything in it is used."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from mien.errors import InputError
from mien.runtime.model_file import MAX_BYTES, card_of, check_network, open_session


def test_a_file_with_the_stated_hash_is_opened(model_path, card):
    found = hashlib.sha256(model_path.read_bytes()).hexdigest()
    for given in (None, found, found.upper()):
        session = open_session(model_path, 1, MAX_BYTES, sha256=given)
        assert card_of(session, model_path) == card
        check_network(session, card, model_path)


def test_one_changed_byte_is_refused(model_path):
    stated = hashlib.sha256(model_path.read_bytes()).hexdigest()
    content = bytearray(model_path.read_bytes())
    content[len(content) // 2] ^= 1
    model_path.write_bytes(content)
    found = hashlib.sha256(content).hexdigest()
    with pytest.raises(InputError, match=f"its SHA-256 is {found}, not {stated}"):
        open_session(model_path, 1, MAX_BYTES, sha256=stated)


@pytest.mark.parametrize("given", ["", "abc", "g" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n"])
def test_what_is_no_hash_is_refused(model_path, given):
    with pytest.raises(InputError, match="64 hexadecimal digits"):
        open_session(model_path, 1, MAX_BYTES, sha256=given)


def test_the_limit_is_of_the_whole_file(model_path):
    length = model_path.stat().st_size
    open_session(model_path, 1, length)
    with pytest.raises(InputError, match=f"{length:,} bytes, more than the limit of {length - 1:,}"):
        open_session(model_path, 1, length - 1)


def test_a_device_a_pipe_or_a_folder_is_no_model(tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")
    for path in (Path("/dev/zero"), tmp_path / "pipe.onnx", tmp_path):
        with pytest.raises(InputError, match="no such model file"):
            open_session(path, 1, MAX_BYTES)
