"""`mien doctor`: what it finds, what it says, and its exit code."""

import json
import subprocess
import sys

import pytest
from packaging.requirements import Requirement

from mien.cli import run
from mien.doctor import examine, libraries, machine, model
from mien.doctor.libraries import CORE, EXTRAS, ImportAll, Library, installed, requirements
from mien.doctor.stages import STAGES, examine_stages
from mien.errors import InputError
from mien.files import sha256_of
from mien.runtime.model_file import bundled_path


@pytest.fixture
def found(capfd):
    assert run(["doctor", "--quick", "--json"]) == 0
    return json.loads(capfd.readouterr().out)


def test_everything_is_told_to_machines(found):
    assert found["works"]
    assert found["bundled"]["sha256"] == sha256_of(bundled_path())
    assert found["bundled"]["bytes"] == bundled_path().stat().st_size
    assert found["bundled"]["answer"] == "happiness"
    assert found["processor"]["cores"] >= 1
    assert list(found["libraries"]) == [CORE, *EXTRAS]
    assert {stage["name"] for stage in found["stages"]} == {name for name, _, _ in STAGES}
    assert found["networks"][0]["name"] == "mtcnn"
    assert found["networks"][0]["remedy"] is None


def test_people_get_the_same_in_lines(found, capfd):
    assert run(["doctor", "--quick"]) == 0
    said = capfd.readouterr().out
    assert found["bundled"]["sha256"] in said
    assert "  yes  train " in said
    assert "reads happiness" in said
    assert "Research use only" in said
    assert "forbidden in the European Union" in said
    numpy = next(one for one in found["libraries"][CORE] if one["name"] == "numpy")
    assert f"numpy {numpy['version']}" in said


def test_it_fails_where_the_bundled_model_does(monkeypatch, capfd):
    def none():
        raise InputError("this copy of mien holds no trained model.")

    monkeypatch.setattr(model, "bundled_path", none)
    assert run(["doctor", "--quick"]) == 1
    assert (
        "cannot be used: this copy of mien holds no trained model; run: pip install" in capfd.readouterr().out
    )


def test_a_stage_that_lacks_a_library_names_the_line_that_brings_it():
    there, gone = Library("a", "", "1.0", None), Library("b", "", None, "not installed")
    extras = {extra: [there] for extra in (CORE, *EXTRAS)} | {"train": [there, gone], "serve": None}
    stages = {stage.name: stage for stage in examine_stages(extras)}
    assert (stages["train"].lacking, stages["train"].remedy) == (("b",), 'pip install "mien[train]"')
    assert stages["serve"].remedy == 'pip install "mien[serve]"'
    assert (stages["predict"].lacking, stages["predict"].remedy) == ((), None)


def test_the_extras_are_those_of_the_metadata():
    assert {"numpy", "onnxruntime"} <= {one.name for one in requirements(CORE)}
    assert {"torch", "polars"} <= {one.name for one in requirements("train")}
    assert "torch" not in {one.name for one in requirements("tables")}


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """Four libraries of a made-up extra: one good, one too old, one that raises, one that ends Python."""
    bodies = {
        "good": "print('hello')",
        "old": "",
        "raising": "raise OSError('no libfoo')",
        "ending": "import os; os._exit(7)",
    }
    for name, body in bodies.items():
        (tmp_path / f"{name}.py").write_text(body)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    wanted = ("good>=1", "ending", "old>=2", "raising", "absent")
    monkeypatch.setattr(libraries, "requirements", lambda extra: tuple(map(Requirement, wanted)))


def test_libraries_are_imported_apart_and_what_befalls_them_is_told(planted):
    errors = {one.name: one.error for one in installed("made-up", ImportAll(["made-up"]).result())}
    assert errors == {
        "good": None,
        "ending": "it ends Python when it is imported (code 7)",
        "old": "too old or too new: >=2 is needed",
        "raising": "OSError: no libfoo",
        "absent": "not installed",
    }


def test_it_imports_nothing_here_that_is_not_of_the_core():
    code = (
        "import sys; from mien.doctor import examine; examine(imports=False); "
        "print(sorted({'torch', 'polars', 'av', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_what_torch_says_of_the_processor_counts(monkeypatch):
    lines = "processor : 0\nmodel name : Some  Chip\nflags : fpu avx512_bf16\n\nprocessor : 1\n"
    monkeypatch.setattr(machine.Path, "read_text", lambda *args, **kwargs: lines)
    assert machine.processor().bf16 is True
    assert machine.processor(False).bf16 is False
    assert machine.processor().name == "Some Chip"


def test_gpus_come_from_torch_alone(monkeypatch):
    asked = {"torch": libraries.Imported(None, {"gpus": ["A Card"], "bf16": True})}
    monkeypatch.setattr("mien.doctor.ImportAll.__init__", lambda self, extras: None)
    monkeypatch.setattr("mien.doctor.ImportAll.result", lambda self: asked)
    assert examine().gpus == ("A Card",)
