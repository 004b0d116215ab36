import pytest

from mien.data.sets import names, public_sets
from mien.data.sources.named import facts, readers, sniff
from mien.errors import InputError


def test_every_module_is_a_set_by_its_name():
    assert names() == tuple(public_sets())
    assert {"affectnet", "ckplus", "fer2013", "ferplus", "rafdb"} <= set(names())
    assert set(facts()) == {*names(), "drawn"}


@pytest.mark.parametrize("name", names())
def test_a_set_offers_what_is_asked_of_it(name, tmp_path):
    one = public_sets()[name]
    assert all((one.FACTS.title, one.FACTS.licence, one.FACTS.source))
    assert not one.find(tmp_path / "none")
    assert not one.find(tmp_path)
    with pytest.raises(InputError, match=str(tmp_path)):
        list(one.read(tmp_path))


@pytest.mark.parametrize("name", names())
def test_no_set_claims_pictures_of_ones_own(name, tmp_path, class_folders):
    root = class_folders(["happy", "sad", "my cat"], 2)
    assert not public_sets()[name].find(root)
    assert sniff(root) == "folder"


def test_a_slip_in_the_name_of_a_set_is_told(tmp_path):
    with pytest.raises(InputError, match=r"'rafbd' is not known: write rafdb="):
        readers([("rafbd", tmp_path)])


def test_a_table_of_labels_makes_fer2013s_folders_ones_own(tmp_path, raw):
    for number, emotion in enumerate(("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")):
        raw.save(tmp_path / "train" / emotion / "1.png", raw.picture(number))
    assert sniff(tmp_path) == "fer2013"
    (tmp_path / "labels.csv").write_text("path,label\ntrain/angry/1.png,happy\n")
    assert sniff(tmp_path) == "folder"
