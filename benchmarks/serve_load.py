"""Load on a service of this machine: the server in a process of its own, many clients in one, with an end."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data


class Server:
    """`mien serve` on a free port; `options` are those of the command line."""

    def __init__(self, *options: str, port: int = 0) -> None:
        self.began = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mien", "serve", "--port", str(port), *options],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        if found is None:
            raise RuntimeError(f"the server did not start: {line}{self._process.stderr.read()}")
        self.port = int(found[1])

    @property
    def memory_mb(self) -> float:
        """Resident memory."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]

    @property
    def cpu_seconds(self) -> float:
        """Processor time so far, of all its threads."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """At once, as a machine that fails."""
        self._process.kill()
        self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()

    def stop(self) -> int:
        """As Ctrl-C does; gives the exit code."""
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(timeout=30)


@contextlib.contextmanager
def serving(*options: str) -> Iterator[Server]:
    """A server that is gone at the end."""
    server = Server(*options)
    try:
        yield server
    finally:
        with contextlib.suppress(Exception):
            server.stop()
        server.kill()


@dataclass
class Load:
    """What clients saw."""

    seconds: float = 0.0
    """Of the load."""
    latencies: list[float] = field(default_factory=list)
    """Seconds of each answer that was a success."""
    ends: list[float] = field(default_factory=list)
    """When each of them came, by `time.perf_counter`."""
    statuses: Counter[int] = field(default_factory=Counter)
    """Answers by their status."""
    unexplained: list[str] = field(default_factory=list)
    """Answers that are neither a success nor a refusal of the documented form, and broken connections."""

    @property
    def rate(self) -> float:
        """Successes a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Of the latencies, in milliseconds."""
        return 1000 * float(np.percentile(self.latencies, share)) if self.latencies else float("nan")

    def say(self, what: str) -> str:
        """One line."""
        statuses = ", ".join(f"{count:,} x {status}" for status, count in sorted(self.statuses.items()))
        return (
            f"{what}: {self.rate:.1f}/s, p50 {self.percentile(50):.0f} ms, p99 {self.percentile(99):.0f} ms; "
            f"{statuses}; {len(self.unexplained)} unexplained"
        )


def face_png() -> bytes:
    """A cropped face of 48 x 48."""
    face = Image.fromarray(data.astronaut()).crop((170, 40, 280, 170)).resize((48, 48))
    return _encoded(face, "PNG")


def picture_jpeg() -> bytes:
    """A picture of 640 x 480 with one face."""
    canvas = Image.new("RGB", (640, 480), (90, 90, 90))
    canvas.paste(Image.fromarray(data.astronaut()).crop((0, 0, 512, 480)), (64, 0))
    return _encoded(canvas, "JPEG")


def _encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def load(
    port: int, path: str, bodies: Sequence[bytes], *, clients: int, seconds: float, forgiving: bool = False
) -> Load:
    """Clients that each send the next request as soon as the last was answered; those refused wait as told.

    Args:
        port: of this machine.
        path: of the request.
        bodies: each client sends one of them.
        clients: connections at a time.
        seconds: how long.
        forgiving: whether connections may break, as when the server is killed under way.
    """
    return asyncio.run(_load(port, path, bodies, clients, seconds, forgiving))


async def _load(
    port: int, path: str, bodies: Sequence[bytes], clients: int, seconds: float, forgiving: bool
) -> Load:
    seen = Load()
    began = time.perf_counter()
    end = began + seconds
    requests = [_request(port, path, body) for body in bodies]
    await asyncio.gather(
        *(_client(port, requests[i % len(requests)], end, seen, forgiving) for i in range(clients))
    )
    seen.seconds = time.perf_counter() - began
    return seen


def _request(port: int, path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def _client(port: int, request: bytes, end: float, seen: Load, forgiving: bool) -> None:
    while time.perf_counter() < end:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                while time.perf_counter() < end:
                    await _ask(reader, writer, request, seen)
            finally:
                writer.close()
        except (OSError, asyncio.IncompleteReadError) as error:
            if not forgiving:
                seen.unexplained.append(repr(error))
            await asyncio.sleep(0.05)


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes, seen: Load
) -> None:
    began = time.perf_counter()
    writer.write(request)
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = re.search(r"content-length: (\d+)", head)
    body = await reader.readexactly(int(length[1]) if length else 0)
    status = int(head[9:12])
    seen.statuses[status] += 1
    if status == 200:
        seen.ends.append(time.perf_counter())
        seen.latencies.append(seen.ends[-1] - began)
        return
    again = re.search(r"retry-after: (\d+)", head)
    if status not in (429, 503) or again is None or b'"code"' not in body:
        seen.unexplained.append(f"{status} {body[:200]!r}")
    await asyncio.sleep(min(1.0, float(again[1]) if again else 0.1))
    if "connection: close" in head:
        raise asyncio.IncompleteReadError(b"", None)


def stream_rate(port: int, *, seconds: float, in_flight: int = 2) -> tuple[float, float]:
    """Answers a second about a moving face, and their median milliseconds, over the WebSocket."""
    return asyncio.run(_stream_rate(port, seconds, in_flight))


async def _stream_rate(port: int, seconds: float, in_flight: int) -> tuple[float, float]:
    from websockets.asyncio.client import connect

    face = Image.fromarray(data.astronaut()).crop((0, 0, 512, 480))
    frames = []
    for i in range(40):
        canvas = Image.new("RGB", (640, 480), (90, 90, 90))
        canvas.paste(face, (64 + round(40 * np.sin(i / 6)), 0))
        frames.append(_encoded(canvas, "JPEG"))
    async with connect(f"ws://127.0.0.1:{port}/v1/stream", compression=None) as socket:
        await socket.send('{"type": "settings"}')
        await socket.recv()
        sent: list[float] = []
        latencies: list[float] = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            while len(sent) - len(latencies) < in_flight:
                await socket.send(frames[len(sent) % len(frames)])
                sent.append(time.perf_counter())
            await socket.recv()
            latencies.append(time.perf_counter() - sent[len(latencies)])
    return len(latencies) / seconds, 1000 * float(np.median(latencies))
