from __future__ import annotations

from pathlib import Path

from tools.coverage_gate import FileCoverage, judge, light_modules, read_report

ROOT = Path(__file__).parents[2]


def _report(**files: tuple[int, int, int, int]) -> dict[str, object]:
    names = ("num_statements", "covered_lines", "num_branches", "covered_branches")
    return {
        "files": {
            path: {"summary": dict(zip(names, figures, strict=True))} for path, figures in files.items()
        }
    }


def test_lines_and_branches_count_alike() -> None:
    (file,) = read_report(_report(**{"src/mien/faces/boxes.py": (10, 9, 4, 2)}))
    assert file == FileCoverage("mien.faces.boxes", 14, 11)


def test_a_package_is_named_without_its_init() -> None:
    files = read_report(
        _report(**{"/mien/src/mien/__init__.py": (1, 1, 0, 0), "src/mien/a.py": (1, 1, 0, 0)})
    )
    assert [file.module for file in files] == ["mien", "mien.a"]


def test_each_part_has_its_threshold() -> None:
    files = [FileCoverage("mien.faces.boxes", 100, 94), FileCoverage("mien.train.loop", 100, 88)]
    light, whole = judge(files, ("mien.faces",))
    assert (light.percent, light.enough) == (94, False)
    assert (whole.percent, whole.enough) == (91, True)
    assert light.lines()[1:] == ["  mien.faces.boxes: 6 of 100 not run"]
    assert len(whole.lines()) == 1


def test_a_name_that_only_begins_alike_is_another_package() -> None:
    light, _ = judge(
        [FileCoverage("mien.facesque", 10, 0), FileCoverage("mien.faces", 10, 10)], ("mien.faces",)
    )
    assert light.percent == 100


def test_nothing_measured_is_not_enough() -> None:
    assert not any(part.enough for part in judge([], ("mien.faces",)))


def test_the_light_half_is_the_contracts() -> None:
    assert {"mien.runtime", "mien.apps"} <= set(light_modules())
    for module in light_modules():
        place = ROOT / "src" / module.replace(".", "/")
        assert place.is_dir() or place.with_suffix(".py").is_file()
