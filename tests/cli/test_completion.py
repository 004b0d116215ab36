"""Completion in a real bash, as a person presses Tab."""

import os
import pty
import select
import shutil
import subprocess
import time

import pytest

from mien.cli import run

BASH = shutil.which("bash")


def _script(shell, capfd):
    assert run(["completion", shell]) == 0
    return capfd.readouterr().out


@pytest.mark.skipif(BASH is None, reason="needs bash")
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("mien tr\t", "mien train "),
        ("mien predict --det\t", "mien predict --detector "),
        ("mien train --optim.name mu\t", "mien train --optim.name muon "),
        ("mien data prep\t", "mien data prepare "),
        ("mien predict hol\t", "mien predict holiday.png "),
        ("mien predict --\t\t", "--min-confidence"),
    ],
)
def test_tab_completes(typed, completed, bash):
    assert completed in bash(typed)


@pytest.fixture
def bash(tmp_path, capfd):
    """Types into a bash that has read the script, and gives what it shows."""
    (tmp_path / "script.bash").write_text(_script("bash", capfd), encoding="utf-8")
    (tmp_path / "holiday.png").touch()
    (tmp_path / "rc").write_text(
        "PS1='ready> '; bind 'set enable-bracketed-paste off'; source script.bash\n", encoding="utf-8"
    )
    keyboard, screen = pty.openpty()
    process = subprocess.Popen(
        [BASH, "--noprofile", "--rcfile", "rc", "-i"],
        stdin=screen,
        stdout=screen,
        stderr=screen,
        cwd=tmp_path,
        env={**os.environ, "TERM": "dumb", "COLUMNS": "200"},
        start_new_session=True,
    )
    os.close(screen)
    _shown(keyboard, "ready> ")

    def type_in(keys):
        os.write(keyboard, keys.encode())
        return _shown(keyboard, None)

    yield type_in
    process.kill()
    process.wait()
    os.close(keyboard)


def _shown(keyboard, until):
    """What appears until a text does, or until nothing more comes."""
    shown, deadline = "", time.monotonic() + 20
    while time.monotonic() < deadline and (until is None or until not in shown):
        if select.select([keyboard], [], [], 20 if until or not shown.strip() else 1.0)[0]:
            shown += os.read(keyboard, 65536).decode(errors="replace")
        else:
            break
    return shown


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script_with_the_same_words(shell, capfd, tmp_path):
    script = _script(shell, capfd)
    assert all(word in script for word in ("mien", "reproduce", "min-confidence", "muon"))
    program = shutil.which(shell)
    if program is not None:
        (tmp_path / "script").write_text(script, encoding="utf-8")
        checked = subprocess.run([program, "-n", tmp_path / "script"], capture_output=True, text=True)
        assert (checked.returncode, checked.stderr) == (0, "")


def test_another_shell_is_refused(capfd):
    assert run(["completion", "csh"]) == 2
    assert "SHELL takes bash, zsh or fish, not 'csh'" in capfd.readouterr().err
