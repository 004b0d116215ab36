"""What is typed wrongly is answered in one sentence that says what to type."""

import pytest
from jsonargparse import ArgumentError

from mien.cli import run
from mien.cli.verbs import all_verbs
from mien.cli.wording import sentence_of

PARSER = all_verbs()[0]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("trian", "there is no verb 'trian'; did you mean train?"),
        ("dance", "there is no verb 'dance'; there are data, train, "),
        ("data prepre x", "mien data has no verb 'prepre'; did you mean prepare?"),
        ("data", "mien data needs a verb: prepare, read, "),
        ("predict a.png --cvs b", "mien predict has no option --cvs; did you mean --csv?"),
        ("predict a.png --cvs=b", "mien predict has no option --cvs; did you mean --csv?"),
        ("train --epochs 3", "mien train has no option --epochs; did you mean --train.epochs?"),
        ("train --frobnicate 3", "mien train has no option --frobnicate; mien train --help lists"),
        ("--verson", "mien has no option --verson; did you mean --version?"),
        ("predict", "mien predict needs PATHS; mien predict --help shows examples."),
        ("data prepare", "mien data prepare needs SOURCES and --out; "),
        ("export a b", "mien export: 'b' is one word too many; "),
        ("predict a.png --workers two", "--workers takes a whole number, not 'two'."),
        ("predict a.png --csv", "--csv needs a value after it."),
        ("predict a.png --prior none", "--prior takes training, moderate or uniform, not 'none'."),
        ("predict a.png --detector", "--detector needs a value: mtcnn, centerface or none."),
        ("train --max-minutes soon", "--max-minutes takes a number, not 'soon'."),
        ("train --optim.name adam", "--optim.name takes sgd, adamw or muon, not 'adam'."),
        ("train --model.depths deep", "--model.depths takes a list such as [1,2], not 'deep'."),
        ("train --optim.sam 3", "--optim.sam takes a TOML file of its settings, not '3'; "),
        (
            "data split x --splits.policy fair",
            "--splits.policy takes official, clean or balanced, not 'fair'.",
        ),
        ("detector get yolo", "NAME takes centerface or mobileface, not 'yolo'."),
    ],
)
def test_the_parser_s_refusal_says_what_to_type(typed, said):
    with pytest.raises(ArgumentError) as refused:
        PARSER.parse_args(typed.split())
    sentence = sentence_of(refused.value, PARSER, typed.split())
    assert sentence.startswith(said)
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("trian", "there is no verb 'trian'; did you mean train?"),
        ("evaluate", "mien evaluate needs a model, such as a run's folder, or --bundled."),
        ("evaluate a --bundled", "--bundled is a model of its own; leave it out, or a."),
        ("evaluate a --split train --report b.html", "a report is of the test or the validation split; "),
    ],
)
def test_it_is_one_line_and_nothing_else(typed, said, capfd):
    assert run(typed.split()) == 2
    out, told = capfd.readouterr()
    assert out == ""
    assert told.startswith(f"mien: {said}")
    assert len(told.splitlines()) == 1


def test_bundled_is_the_model_of_that_name(drawn_folder, capfd):
    assert run(["evaluate", "--bundled", "--data", str(drawn_folder)]) == 0
    flagged = capfd.readouterr().out
    assert run(["evaluate", "bundled", "--data", str(drawn_folder)]) == 0
    assert capfd.readouterr().out == flagged
    assert flagged.startswith("bundled: test, labels all")
