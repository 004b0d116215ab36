"""Work in other processes: every result once, errors come home, nothing is read ahead without bound."""

import math
import os
import subprocess
import sys
import time

import pytest

from mien.data.taxonomy import Taxonomy
from mien.errors import InputError, MienError
from mien.workers import in_processes


def test_results_come_whole_in_one_process_and_in_two():
    expected = [float(number) for number in range(9)]
    squares = [number * number for number in range(9)]
    assert list(in_processes(math.sqrt, squares, jobs=1)) == expected
    assert sorted(in_processes(math.sqrt, squares, jobs=2)) == expected


def test_an_error_in_a_process_is_raised_here():
    with pytest.raises(InputError, match="labels is empty"):
        list(in_processes(Taxonomy, ["own", ",", "own"], jobs=2))


def test_tasks_are_taken_no_faster_than_they_are_done():
    taken = []

    def tasks():
        for number in range(40):
            taken.append(number)
            yield number

    for done, _ in enumerate(in_processes(abs, tasks(), jobs=2)):
        assert len(taken) <= done + 5


def test_a_killed_process_is_said():
    with pytest.raises(MienError, match="a process that read pictures ended"):
        list(in_processes(os._exit, [1, 1], jobs=2))


def test_the_processes_end_with_their_killed_parent(tmp_path):
    script = (
        "import multiprocessing, time\n"
        "from mien.workers import in_processes\n"
        "if __name__ == '__main__':\n"
        "    results = in_processes(time.sleep, [0.01] * 4 + [600] * 2, jobs=2)\n"
        "    next(results)\n"
        "    print(*(child.pid for child in multiprocessing.active_children()), flush=True)\n"
        "    list(results)\n"
    )
    (tmp_path / "work.py").write_text(script)
    parent = subprocess.Popen([sys.executable, tmp_path / "work.py"], stdout=subprocess.PIPE, text=True)
    children = [int(word) for word in parent.stdout.readline().split()]
    assert len(children) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while any(map(_is_running, children)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(map(_is_running, children))


def _is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
