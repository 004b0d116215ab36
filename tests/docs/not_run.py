"""The command lines of the documentation that its tests read but do not run, each with the reason.

A line is one of these if all of it matches; its options are still checked. Keep the list short.
"""

from __future__ import annotations

from typing import Final

NOT_RUN: Final = {
    r"pip install .*": "installs packages",
    r"python3 -m venv .*|source .*": "makes an environment",
    r"make .*": "these targets install packages and run for minutes",
    r"(.* )?mien serve .*": "ends when it is stopped; a fixture starts one for the examples",
    r"mien webcam.*": "needs a camera and a screen",
    r"mien detector get .*": "downloads a package",
    r"mien reproduce .*": "trains for minutes or hours; tests/study/test_reproduce.py runs a smaller one",
    r"mien data prepare drawn .*": "draws for seconds; what all tests share, `drawn_folder`, is made so",
    r"mien video .* --people": "needs the network that the line above it downloads",
    r"mien doctor.*": "asks other processes for what is installed; tests/cli/test_doctor.py runs it",
    r"mien evaluate .* --also features maps .*": "takes five seconds; tests/evaluate runs each analysis",
    r"mien report runs/(\*|a evaluated/bundled) .*": "the same is run by how-to/evaluate-another-model.md",
    r"mien export .* --int8 .*": "takes six seconds; tests/export runs it",
    r"mien export .* --precision 0\.9": "the run of seconds here keeps no such promise",
    r"mien data prepare .* --splits\.test_per_class 500 .*": "needs 500 faces a class",
    r"torchrun .*": "needs two machines",
    r"mien train .* --devices 4": "needs four GPUs",
}

RECORDS: Final = ("docs/lab-log.md", "docs/study-plan.md", "docs/study.md")
"""Pages that say what was run at a time and for hours; their lines are read, not run."""
