"""The command line as a person types it: results, exit codes, one sentence an error, nothing half-written."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.cli import run
from mien.data.synthetic import draw_faces

TINY = [
    "--model.embed_dim=16", "--model.depths=[1,1]", "--model.num_heads=[2,4]", "--train.epochs=1",
    "--train.batch_size=16", "--train.precision=fp32", "--train.threads=1",
]  # fmt: skip
MIEN = [sys.executable, "-c", "from mien.cli import main; main()"]


@pytest.fixture(scope="module")
def own_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder a class: two classes of a user's own, 30 drawn pictures each."""
    root = tmp_path_factory.mktemp("own") / "pictures"
    for name, emotion, seed in (("calm", "neutral", 1), ("glad", "happiness", 2)):
        faces = draw_faces(30, size=64, channels=3, seed=seed, emotions=[emotion], subjects=10)
        (root / name).mkdir(parents=True)
        for i, face in enumerate(faces.images):
            Image.fromarray(face).save(root / name / f"{i}.png")
    return root


def _fails(capfd: pytest.CaptureFixture[str], arguments: list[str], words: str, code: int = 2) -> None:
    assert run(arguments) == code
    said = capfd.readouterr().err.strip().splitlines()
    assert len(said) == 1, said
    assert said[0].startswith("mien: ")
    assert words in said[0]


def test_a_folder_with_a_users_own_classes_from_pictures_to_the_runtime(
    own_pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import mien

    data, out = str(tmp_path / "data"), str(tmp_path / "run")
    assert run(["data", "prepare", str(own_pictures), "--labels", "own", "--out", data]) == 0
    assert "| calm |" in capfd.readouterr().out
    assert run(["train", "--data", data, "--out", out, *TINY]) == 0
    trained = capfd.readouterr().out
    assert "labels all (2 classes)" in trained
    assert run(["evaluate", out, "--split", "validation"]) == 0
    assert capfd.readouterr().out == trained
    assert run(["evaluate", out]) == 0
    assert run(["export", out]) == 0
    assert run(["report", out, "--out", str(tmp_path / "report.html")]) == 0
    assert "glad" in (tmp_path / "report.html").read_text(encoding="utf-8")
    model = mien.load(Path(out) / "model.onnx", detector="none")
    (face,) = model.read(own_pictures / "glad" / "0.png")
    assert set(face.probabilities) == {"calm", "glad"}
    capfd.readouterr()

    table = tmp_path / "faces.json"
    pictures = [str(own_pictures / "calm"), str(tmp_path / "missing.png")]
    assert run(["predict", *pictures, "--model", out, "--crops", "--json", str(table)]) == 1
    assert "missing.png" in capfd.readouterr().out
    files = json.loads(table.read_text(encoding="utf-8"))["files"]
    assert len(files) == 31
    assert sum(entry["error"] is not None for entry in files) == 1


def _said(capfd: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    capfd.readouterr()
    assert run(arguments) == 2
    return capfd.readouterr().err


def test_each_stage_is_a_verb_and_together_they_are_prepare(
    own_pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from mien.data.prepared import load_prepared

    folder = str(tmp_path / "stages")
    given = ["--labels", "own", "--splits.policy", "balanced", "--splits.validation_per_class", "3"]
    given += ["--splits.test_per_class", "4", "--balance.target", "20"]
    assert "nothing was read, or by another version" in _said(capfd, ["data", "split", folder])
    assert run(["data", "read", f"mine={own_pictures}", "--out", folder, "--labels", "own"]) == 0
    assert "60 pictures read, 60 of them can be used" in capfd.readouterr().out
    assert run(["data", "audit", folder, "--audit.correlation", "0.99"]) == 0
    assert "pairs of twins" in capfd.readouterr().out
    policy = [
        "--splits.policy",
        "balanced",
        "--splits.validation_per_class",
        "3",
        "--splits.test_per_class",
        "4",
    ]
    assert "run `mien data split" in _said(capfd, ["data", "inspect", folder])
    assert run(["data", "split", folder, *policy]) == 0
    # What is not typed stays as it was.
    assert run(["data", "split", folder, "--splits.test_per_class", "4"]) == 0
    assert run(["data", "balance", folder, "--balance.target", "20"]) == 0
    assert run(["data", "card", folder, "--samples", "0"]) == 0
    assert (tmp_path / "stages" / "card.html").is_file()
    whole = str(tmp_path / "whole")
    arguments = ["data", "prepare", f"mine={own_pictures}", "--out", whole, *given]
    assert run([*arguments, "--audit.correlation", "0.99"]) == 0
    one, other = (load_prepared(Path(path)).manifest for path in (folder, whole))
    assert one.hash() == other.hash()
    assert one.counts()["test"] == {"calm": 4, "glad": 4}
    capfd.readouterr()
    assert run(["data", "inspect", folder]) == 0
    assert one.hash() in capfd.readouterr().out


def test_the_name_of_a_public_set_is_not_guessed(
    own_pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file, out = _csv(tmp_path / "fer2013.csv", "emotion,pixels,Usage", 2304), str(tmp_path / "out")
    _fails(capfd, ["data", "prepare", f"fer213={file}", "--out", out], "write fer2013=")
    twice = [f"mine={own_pictures}", f"mine={own_pictures}"]
    _fails(capfd, ["data", "prepare", *twice, "--out", out], "given twice")
    _fails(capfd, ["data", "prepare", f"My Set={own_pictures}", "--out", out], "small letters")
    assert not Path(out).exists()


def test_missing_and_empty_paths(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    _fails(capfd, ["data", "prepare", str(tmp_path / "none"), "--out", str(out)], "does not exist")
    (tmp_path / "empty").mkdir()
    _fails(capfd, ["data", "prepare", str(tmp_path / "empty"), "--out", str(out)], "empty")
    _fails(capfd, ["train", "--data", str(tmp_path / "none"), "--out", str(out), *TINY], "is not a folder")
    _fails(capfd, ["evaluate", str(tmp_path / "none")], "no run there")
    _fails(capfd, ["export", str(tmp_path / "none")], "no run there")
    _fails(capfd, ["report", str(tmp_path / "none"), "--out", str(tmp_path / "r.html")], "none")
    _fails(capfd, ["predict", "x.jpg", "--model", str(tmp_path / "none.onnx")], "none.onnx")
    _fails(capfd, ["reproduce", "--data", "x", "--recipe", str(tmp_path / "no.toml")], "no such config file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty"]


def _csv(path: Path, header: str, pixels: int, emotion: str = "3") -> Path:
    rows = [
        f"{emotion},{' '.join(str((i * 7 + r) % 256) for i in range(n))},Training"
        for r, n in enumerate((2304, pixels))
    ]
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("header", "pixels", "emotion", "words"),
    [
        ("emotion,Usage", 2304, "3", "pixels"),
        ("emotion,pixels,Usage", 2303, "3", "row 1: 2,303 pixels"),
        ("emotion,pixels,Usage", 2304, "9", "9"),
    ],
    ids=["missing column", "2303 pixels", "unknown code"],
)
def test_a_broken_csv(
    header: str, pixels: int, emotion: str, words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = _csv(tmp_path / "fer2013.csv", header, pixels, emotion)
    _fails(capfd, ["data", "prepare", f"fer2013={file}", "--out", str(tmp_path / "out")], words)
    assert [path.name for path in tmp_path.iterdir()] == ["fer2013.csv"]


def test_a_label_outside_the_taxonomy(
    own_pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["data", "prepare", str(own_pictures), "--out", str(tmp_path / "out")]
    _fails(capfd, arguments, "calm")
    _fails(capfd, [*arguments, "--labels", "glad,sulky"], "calm")
    assert not list(tmp_path.iterdir())


def test_a_split_without_images(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = _csv(tmp_path / "fer2013.csv", "emotion,pixels,Usage", 2304)
    data = tmp_path / "data"
    code = run(["data", "prepare", f"fer2013={file}", "--out", str(data)])
    said = capfd.readouterr().err.strip().splitlines()
    assert code == 2
    assert len(said) == 1
    assert "split has no image" in said[0]
    # What was read stays, so that nothing is read again once the pictures or the settings are mended.
    assert [path.name for path in data.iterdir() if path.name == "manifest.parquet"] == []
    assert "has no manifest yet" in _said(capfd, ["train", "--data", str(data), "--out", str(tmp_path / "r")])


def test_a_view_and_options_that_do_not_fit(trained: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _fails(capfd, ["evaluate", str(trained), "--labels", "boredom"], "boredom")
    _fails(capfd, ["train", "--optim.lr", "fast"], "optim.lr")
    _fails(capfd, ["train", "--optim.speed", "1"], "speed")
    _fails(capfd, ["train"], "--data")
    _fails(capfd, ["train", "--config", "nope.toml"], "nope.toml")
    _fails(capfd, ["train", "--train.epochs", "0", "--data", "x", "--out", "y"], "epochs is 0")
    _fails(capfd, ["train", "--resume", str(trained), "--train.epochs", "9"], "--resume")
    _fails(capfd, ["dance"], "dance")
    _fails(capfd, ["export", str(trained), "--out", "model.pt"], ".onnx")


def test_a_checkpoint_of_another_shape(
    trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    for name in ("config.json", "run.json", "best.safetensors"):
        text = (trained / name).read_bytes()
        (run_folder / name).write_bytes(text.replace(b'"embed_dim": 16', b'"embed_dim": 32'))
    _fails(capfd, ["evaluate", str(run_folder)], "has shape")
    assert not (run_folder / "evaluation").exists()


def _mien(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    return subprocess.run(
        [*MIEN, *arguments], capture_output=True, text=True, env=environment, timeout=240, **options
    )  # type: ignore[call-overload]


def test_a_full_disk(drawn_folder: Path, tmp_path: Path) -> None:
    def limited() -> None:
        # A file cannot grow past 60 kB: the checkpoint is larger, config and run.json are smaller.
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    done = _mien(
        "train", "--data", str(drawn_folder), "--out", str(tmp_path / "run"), *TINY, preexec_fn=limited
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("mien: ")
    assert not list((tmp_path / "run").glob(".*"))
    assert not (tmp_path / "run" / "last.safetensors").exists()

    done = _mien("data", "prepare", "drawn", "--out", str(tmp_path / "data"), preexec_fn=limited)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "run"]
    left = [path.name for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert set(left) <= {"lock", "state.json"}, "the marks of a folder that was begun here"


def test_ctrl_c_in_the_middle_of_training(drawn_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["train", "--data", str(drawn_folder), "--out", str(out), *TINY[:3], "--train.epochs=500"]
    process = subprocess.Popen(
        [*MIEN, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    while not (out / "history.jsonl").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert said.strip().splitlines()[-1] == f"mien: stopped; continue with: mien train --resume {out}"
    assert (out / "last.safetensors").exists()


def test_help_names_every_field_with_its_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    import dataclasses
    import re

    from mien.config import RunConfig

    with pytest.raises(SystemExit) as ended:
        run(["train", "--help"])
    assert ended.value.code == 0
    shown = " ".join(capfd.readouterr().out.split())

    def check(kind: type, prefix: str) -> None:
        import inspect

        source = inspect.getsource(kind)
        for field in dataclasses.fields(kind):
            name = f"{prefix}{field.name}"
            default = field.default_factory() if callable(field.default_factory) else None  # type: ignore[misc]
            if dataclasses.is_dataclass(default):
                check(type(default), f"{name}.")
                continue
            sentence = re.search(rf"\n    {field.name}: [^\n]*\n    \"\"\"(.*?)\"\"\"", source, re.S)
            assert sentence, name
            words = " ".join(sentence.group(1).split())
            assert f"--{name} " in shown
            assert words[:40].replace("`", "") in shown.replace("`", ""), name

    check(RunConfig, "")


def test_printed_configs_can_be_read_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from mien.config import read_run_config

    with pytest.raises(SystemExit) as ended:
        run(["train", "--optim.lr", "0.5", "--model.depths=[1,1]", "--print_config"])
    assert ended.value.code == 0
    (tmp_path / "c.toml").write_text(capfd.readouterr().out)
    config = read_run_config(tmp_path / "c.toml")
    assert (config.optim.lr, config.model.depths) == (0.5, (1, 1))


def test_version_and_bare_command(capfd: pytest.CaptureFixture[str]) -> None:
    import mien

    with pytest.raises(SystemExit):
        run(["--version"])
    assert mien.__version__ in capfd.readouterr().out
    with pytest.raises(SystemExit) as ended:
        run([])
    assert ended.value.code == 0
    assert "reproduce" in capfd.readouterr().out


def test_prepared_pictures_are_the_drawn_ones(own_pictures: Path, tmp_path: Path) -> None:
    from mien.data.prepared import load_prepared

    run(
        [
            "data",
            "prepare",
            str(own_pictures),
            "--labels",
            "own",
            "--out",
            str(tmp_path / "d"),
            "--size",
            "64",
            "--channels",
            "3",
        ]
    )
    prepared = load_prepared(tmp_path / "d")
    picture = np.asarray(Image.open(own_pictures / "calm" / "0.png")).transpose(2, 0, 1)
    assert any(np.array_equal(face, picture) for face in prepared.pack)
