"""`mien doctor`: what is installed here, which stages can run, and whether the bundled model reads a face."""

from __future__ import annotations

import dataclasses
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mien
from mien.doctor.libraries import CORE, EXTRAS, ImportAll, Library, installed, is_known
from mien.doctor.machine import Processor, ffmpeg_program, processor
from mien.doctor.model import BundledModel, Network, examine_bundled, examine_networks
from mien.doctor.stages import Stage, examine_stages

__all__ = ["BundledModel", "Diagnosis", "Library", "Network", "Processor", "Stage", "examine"]


@dataclass(frozen=True)
class Diagnosis:
    """What was found."""

    mien: str
    """The version."""
    folder: Path
    """That of the package."""
    python: str
    executable: Path
    system: str
    processor: Processor
    gpus: tuple[str, ...] | None
    """What torch sees; none where torch is not installed or was not asked."""
    ffmpeg: str | None
    """The version of PyAV's libavcodec; none where PyAV is not installed or was not asked."""
    ffmpeg_program: str | None
    """Where the program lies, which mien does not need."""
    libraries: dict[str, list[Library] | None]
    """Those of the core and of each extra; none for an extra that this installation does not know."""
    imported: bool
    """Whether they were imported, or their versions were read alone."""
    stages: list[Stage]
    networks: list[Network]
    bundled: BundledModel

    @property
    def works(self) -> bool:
        """Whether the bundled model reads a picture."""
        return self.bundled.error is None and not self.stages[0].lacking

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON-ready values."""
        values: dict[str, Any] = _plain(dataclasses.asdict(self))
        return {"works": self.works, **values}


def examine(*, imports: bool = True) -> Diagnosis:
    """Look at this installation and this machine.

    Args:
        imports: import every installed library, in a process of its own, which takes some seconds with torch;
            otherwise their versions alone are read, and torch is not asked for GPUs.

    Raises:
        MienError: mien was never installed, so that it has no metadata.
    """
    known = [extra for extra in (CORE, *EXTRAS) if is_known(extra)]
    importing = ImportAll(known if imports else ())
    bundled, networks = examine_bundled(), examine_networks()
    found = importing.result()
    libraries = {extra: installed(extra, found) if extra in known else None for extra in (CORE, *EXTRAS)}
    torch = found["torch"].facts if "torch" in found else {}
    return Diagnosis(
        mien=mien.__version__,
        folder=Path(mien.__file__).parent,
        python=platform.python_version(),
        executable=Path(sys.executable),
        system=platform.platform(),
        processor=processor(torch.get("bf16")),
        gpus=tuple(torch["gpus"]) if "gpus" in torch else None,
        ffmpeg=found["av"].facts.get("ffmpeg") if "av" in found else None,
        ffmpeg_program=ffmpeg_program(),
        libraries=libraries,
        imported=imports,
        stages=examine_stages(libraries),
        networks=networks,
        bundled=bundled,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value
