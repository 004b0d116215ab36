"""The demonstration on Gradio: what it answers, that it calls nobody, what is said without Gradio."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

import mien.apps
from mien.errors import MissingExtra

SERVE = """
import json, socket, sys

asked = []
connect, resolve = socket.socket.connect, socket.getaddrinfo

def connected(self, address):
    asked.append(address[0] if isinstance(address, tuple) else "local")
    return connect(self, address)

def resolved(host, *args, **options):
    asked.append(host)
    return resolve(host, *args, **options)

socket.socket.connect, socket.getaddrinfo = connected, resolved
from mien.apps import gradio_demo

demo = gradio_demo()
_, address, _ = demo.launch(prevent_thread_lock=True, quiet=True)
print(address, flush=True)
sys.stdin.read()
demo.close()
print(json.dumps(sorted(set(map(str, asked)) - {"127.0.0.1", "localhost", "local"})))
"""

# A process of its own, since Gradio's client calls its maker's site whatever it is told.
ASK = """
import json, sys
from gradio_client import Client, handle_file

client = Client(sys.argv[1], verbose=False)
print(json.dumps(client.predict(handle_file(sys.argv[2]), api_name="/read")[1]))
"""


def test_without_gradio_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(MissingExtra, match=r"mien\[gradio\]"):
        mien.apps.gradio_demo()


def test_asking_for_the_apps_imports_none_of_them():
    code = "import sys, mien.apps; print('numpy' in sys.modules, 'gradio' in sys.modules, dir(mien.apps))"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert told.startswith("False False")
    with pytest.raises(AttributeError, match="no attribute 'gradio_demonstration'"):
        mien.apps.gradio_demonstration  # noqa: B018


@pytest.mark.skipif(find_spec("gradio") is None, reason='needs pip install "mien[gradio]"')
def test_a_picture_is_read_and_nobody_is_called(tmp_path):
    data = pytest.importorskip("skimage.data")
    from PIL import Image

    Image.fromarray(data.astronaut()).save(tmp_path / "astronaut.png")
    # The default is on, so that what turns it off is our own word.
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GRADIO_")},
        "GRADIO_TEMP_DIR": str(tmp_path / "client"),
    }
    options = {"env": environment, "text": True, "stdout": subprocess.PIPE}
    own = {**options, "env": {**environment, "GRADIO_TEMP_DIR": str(tmp_path / "server")}}
    with subprocess.Popen([sys.executable, "-c", SERVE], stdin=subprocess.PIPE, **own) as server:
        address = server.stdout.readline().strip()
        command = [sys.executable, "-c", ASK, address, tmp_path / "astronaut.png"]
        asked = subprocess.run(command, check=True, timeout=120, **options)
        told, _ = server.communicate("", timeout=60)
    shares = json.loads(asked.stdout)
    assert shares["label"] == "happiness"
    assert sum(one["confidence"] for one in shares["confidences"]) == pytest.approx(1, abs=1e-3)
    assert json.loads(told.splitlines()[-1]) == []
    assert [path for path in (tmp_path / "server").rglob("*") if path.is_file()] == []
