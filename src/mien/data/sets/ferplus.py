"""FER+: ten taggers' votes for each picture of FER-2013 (Barsoum et al., ICMI 2016; github
microsoft/FERPlus).

Two layouts: `fer2013new.csv`, whose rows stand in the order of fer2013.csv, so that a picture gets its votes
by its official row number; and the authors' folders FER2013Train|Valid|Test with `fer*.png` and `label.csv`.
The number in a picture's name is not its row. An empty name marks a picture that the authors dropped.

Four names stand in two rows each. By row number that is no trouble. In the folders one picture is left for
two lines of votes: where the lines agree they are used once, where they differ nobody can say whose votes
they are, and the picture is dropped and listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mien.data.sources.record import Record, SetFacts, Split
from mien.data.sources.table import lines_of, rows_of
from mien.data.votes import majority
from mien.errors import InputError
from mien.labels import FERPLUS_COLUMNS

FACTS: Final = SetFacts(
    title="FER+: ten votes for each picture of FER-2013 (Barsoum et al., ICMI 2016)",
    licence="votes: MIT; pictures: as FER-2013",
    source="fer2013new.csv from github microsoft/FERPlus; the pictures are FER-2013's",
)
VOTES_FILE: Final = "fer2013new.csv"
FOLDERS: Final[Mapping[str, Split]] = {
    "FER2013Train": "train",
    "FER2013Valid": "validation",
    "FER2013Test": "test",
}


@dataclass(frozen=True, slots=True)
class Votes:
    """One row of FER+: the official usage, whether the authors kept the picture, and the raw counts."""

    usage: str
    named: bool
    counts: Mapping[str, int]

    @property
    def label(self) -> str | None:
        """The authors' majority label; None where it is ambiguous or the picture was dropped."""
        return majority(self.counts) if self.named else None


def _counts(cells: list[str], where: str) -> dict[str, int]:
    try:
        counts = [int(cell) for cell in cells]
    except ValueError:
        counts = []
    if len(counts) != len(FERPLUS_COLUMNS) or min(counts) < 0:
        raise InputError(
            f"{where}: needs {len(FERPLUS_COLUMNS)} vote counts, found {', '.join(cells) or 'none'}."
        )
    return dict(zip(FERPLUS_COLUMNS, counts, strict=True))


def read_votes(path: Path) -> list[Votes]:
    """Every row of `fer2013new.csv`, in official row order.

    Raises:
        InputError: a column is missing, or a row does not hold ten counts.
    """
    votes = []
    for row, cells in rows_of(path, ("Usage", "Image name", *FERPLUS_COLUMNS)):
        counts = _counts([cells[name] for name in FERPLUS_COLUMNS], f"{path.name}, row {row}")
        votes.append(Votes(cells["Usage"].strip(), bool(cells["Image name"].strip()), counts))
    return votes


def _label_lines(path: Path, where: str) -> dict[str, list[dict[str, int]]]:
    lines: dict[str, list[dict[str, int]]] = {}
    for row, cells in enumerate(lines_of(path, where)):
        if cells:
            # Copies exist whose box is not quoted and so takes four cells; the counts are always the last.
            counts = _counts(cells[2:][-len(FERPLUS_COLUMNS) :], f"{where}, row {row}")
            lines.setdefault(cells[0].strip(), []).append(counts)
    return lines


def has_folders(path: Path) -> bool:
    """Whether any of the authors' folders is in `path`."""
    return any((path / name).is_dir() for name in FOLDERS)


def find(path: Path) -> bool:
    """Whether FER+ is at `path`: the authors' folders, or their csv of votes, or a file beside one."""
    around = path.parent if path.is_file() else path
    return has_folders(around) or (around / VOTES_FILE).is_file()


def read_folders(path: Path) -> Iterator[Record]:
    """The pictures of FER2013Train|Valid|Test with their votes (annotation `ferplus`), official splits.

    Raises:
        InputError: no such folder, a folder without label.csv, or a line that does not hold ten counts.
    """
    found = [name for name in FOLDERS if (path / name).is_dir()]
    if not found:
        raise InputError(f"{path} holds none of {', '.join(FOLDERS)}; give the folder that does.")
    for name in found:
        table = path / name / "label.csv"
        if not table.is_file():
            raise InputError(f"{path / name} has no label.csv; FER+ keeps the votes there.")
        for picture, lines in sorted(_label_lines(table, f"{name}/label.csv").items()):
            file = path / name / picture
            reason = None
            if any(line != lines[0] for line in lines):
                reason = "name with two sets of votes"
            elif not file.is_file():
                reason = "missing file"
            yield Record(
                image=file,
                set="fer2013",
                key=f"{name}/{picture}",
                source_file=f"{name}/{picture}",
                split=FOLDERS[name],
                labels={"ferplus": None if reason else majority(lines[0])},
                votes={"ferplus": lines[0]},
                size=(48, 48),
                drop_reason=reason,
            )


def read(path: Path) -> Iterator[Record]:
    """FER+ from the authors' folders, or from `fer2013new.csv` with the pictures of FER-2013 beside it.

    Raises:
        InputError: neither layout is at `path`.
    """
    from mien.data.sets import fer2013

    folder = path.parent if path.is_file() or path.name in FOLDERS else path
    if has_folders(folder):
        return read_folders(folder)
    if (folder / VOTES_FILE).is_file():
        return fer2013.read(folder)
    raise InputError(f"{path} holds neither {VOTES_FILE} nor {', '.join(FOLDERS)}; one of them is FER+.")
