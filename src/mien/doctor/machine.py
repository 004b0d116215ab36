"""The machine, as far as it matters here: its processor, whether that has bf16, and its GPUs."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CPUINFO: Final = Path("/proc/cpuinfo")
_BF16_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16"})
"""Of /proc/cpuinfo on x86; those that `mien.train.precision` asks torch for."""


@dataclass(frozen=True)
class Processor:
    """The processor."""

    name: str
    cores: int
    """Those that this process may use."""
    bf16: bool | None
    """Whether it multiplies bf16 itself, so that `train.precision = "auto"` takes it; none where that cannot
    be told."""


def processor(bf16: bool | None = None) -> Processor:
    """The processor of this machine.

    Args:
        bf16: what torch says of it; none looks at the system's own list of flags.
    """
    lines = _cpuinfo()
    if bf16 is None and "flags" in lines:
        bf16 = bool(_BF16_FLAGS & set(lines["flags"].split()))
    name = lines.get("model name") or _macos_name() or platform.processor() or platform.machine()
    return Processor(" ".join(name.split()), _cores(), bf16)


def ffmpeg_program() -> str | None:
    """The program `ffmpeg`, which mien does not need: PyAV brings its own libraries."""
    return shutil.which("ffmpeg")


def _cpuinfo() -> dict[str, str]:
    """The first processor's lines, by their names."""
    if not _CPUINFO.is_file():
        return {}
    first = _CPUINFO.read_text(encoding="utf-8").partition("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _macos_name() -> str:
    if platform.system() != "Darwin":
        return ""
    asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
    return subprocess.run(asked, capture_output=True, text=True).stdout.strip()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
