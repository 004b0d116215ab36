"""The data card: what it says, that page and Markdown agree, that nothing is loaded, that names are text."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.report.card_data import (
    CLASSES,
    LEAK,
    Page,
    levels_of,
    manifest_of,
    prepared,
    row,
    sheets_in,
    some,
    text_of,
    twins_of,
)

from mien.data.summary import summarise
from mien.errors import InputError
from mien.report.data_card import card_markdown, summarise_folder, write_card
from mien.report.data_figures import SHEET_COLUMNS, SHEET_FACE, class_by_set_drawings

BAD_NAMES = ("<script>alert(1)</script>", "a|b *c* `d` [e](f)", "喜び", "$\\frac{", "_under_")


def test_page_markdown_json_and_lists_hold_the_same(tmp_path: Path) -> None:
    manifest = some(notes=("the set b came without a test split",), splits="clean")
    folder = prepared(tmp_path / "data", manifest, twins_of(LEAK))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    summary = write_card(folder)
    page, markdown = text_of(folder / "card.html"), text_of(folder / "card.md")
    values = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    assert markdown == card_markdown(summary)
    assert summarise_folder(folder) == summary
    for shown in (page, markdown):
        assert "31 pictures of a and b were read and 5 kept; 4 have a label of target own" in shown
        assert manifest.hash() in shown
        assert "the set b came without a test split" in shown
        assert "1 pairs are exact twins" in shown
        assert "dropped 25 for “twin of a test image”" in shown
        assert "a user's own set" in shown.replace("&#39;", "'")
    assert "| joy | 27 | 1 | 0 | 1 | 2 | 3 |" in markdown
    assert "| twin of a test image | 25 | 0 | 25 |" in markdown
    assert values["manifest_hash"] == manifest.hash()
    assert [one["epoch"] for one in values["classes"]] == [{"a": 3, "b": 0}, {"a": 0, "b": 2}]
    for name, content in before.items():
        assert (folder / name).read_bytes() == content
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [*before, "card.html", "card.json", "card.md", "dropped.csv", "twins.csv"]
    )


def test_the_page_lists_twenty_examples_of_a_reason_and_markdown_three(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "data", some())
    write_card(folder)
    page, markdown = text_of(folder / "card.html"), text_of(folder / "card.md")
    assert [number for number in range(10, 35) if f"a/{number}<" in page] == list(range(10, 30))
    assert [number for number in range(10, 35) if f"a/{number} |" in markdown] == [10, 11, 12]
    assert "twin of a test image: 20 of 25" in page
    assert "black: 1 of 1" in page


def test_the_page_loads_nothing_and_all_is_described(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "data", some(), twins_of(LEAK))
    write_card(folder)
    text = (folder / "card.html").read_text(encoding="utf-8")
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    assert not any(page.named(tag) for tag in ("link", "iframe", "object", "metadata"))
    assert re.search(r"url\((?!#)|@import", text) is None
    for tag, attributes in page.tags:
        assert (attributes.get("href") or "#").startswith(("#", "./")), tag
        assert (attributes.get("src") or "data:image/png;base64,").startswith("data:image/png;base64,"), tag
    policy = next(m for m in page.named("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in (policy["content"] or "")
    assert "img-src data:;" in (policy["content"] or "")
    beside = [a["href"] for a in page.named("a") if (a["href"] or "").startswith("./")]
    assert beside == ["./card.md", "./card.json", "./dropped.csv", "./twins.csv"]
    assert all(head.get("scope") in {"col", "row"} for head in page.named("th"))
    assert len(page.named("caption")) == len(page.named("table")) > 5
    assert [drawing["role"] for drawing in page.named("svg")] == ["img", "img"]
    assert "joy 27" in (page.named("svg")[0]["aria-label"] or "")
    assert [image["alt"] for image in page.named("img")] == [
        "Sample faces of class joy: 2 of a.",
        "Sample faces of class rage: 2 of b.",
    ]
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', text)) <= set(ids)
    assert {a["href"] for a in page.named("a")} >= {"#samples", "#section-1"}


def test_names_are_text_whatever_they_hold(tmp_path: Path) -> None:
    rows = [row(i, name, set=name, source_file=name) for i, name in enumerate(BAD_NAMES)]
    rows += [row(9, BAD_NAMES[0], set=BAD_NAMES[1], drop_reason=BAD_NAMES[0], drop_detail=BAD_NAMES[0])]
    folder = prepared(tmp_path / "data", manifest_of(rows, BAD_NAMES, notes=BAD_NAMES))
    write_card(folder)
    page = Page((folder / "card.html").read_text(encoding="utf-8"))
    assert page.named("script") == [{}]
    words = " ".join(page.words)
    for name in BAD_NAMES:
        assert name in words
    markdown = (folder / "card.md").read_text(encoding="utf-8")
    assert "<script>" not in markdown
    assert "a\\|b \\*c\\* \\`d\\` \\[e\\](f)" in markdown
    # A name with a bar in it must not add a column.
    table = [line for line in markdown.splitlines() if line.startswith("| 喜び |")]
    assert len(re.split(r"(?<!\\)\|", table[0])) == 9


def test_forty_classes_and_eight_sets_make_a_card_and_so_does_one(tmp_path: Path) -> None:
    names = [f"class {i}" for i in range(40)]
    rows = [row(i, name, set=f"set {i % 8}") for i, name in enumerate(names)]
    folder = prepared(tmp_path / "many", manifest_of(rows, names))
    assert len(write_card(folder).sets) == 8
    text = (folder / "card.html").read_text(encoding="utf-8")
    assert len(Page(text).named("img")) == 40
    # The seventh set has the first one's colour and a hatch to tell them apart.
    assert "<pattern" in text
    one = prepared(tmp_path / "one", manifest_of([row(0, "joy")], ["joy"]))
    write_card(one)
    assert "| joy | 1 | 1 | 0 | 0 | 1 | 1 |" in text_of(one / "card.md")
    assert "by set" not in text_of(one / "card.md")


def test_a_set_without_a_kept_picture_and_a_class_without_any() -> None:
    rows = [row(0, "joy", brightness=9.0), row(1, None, set="b", drop_reason="not a picture")]
    rows += [row(2, None, drop_reason="not a picture")]
    markdown = card_markdown(summarise(manifest_of(rows), None, None))
    assert "| pictures kept | 1 (50.0 %) | 0 (0.0 %) |" in markdown
    assert "| size after | 48 × 48 px, all | – |" in markdown
    assert "| brightness before | 9.0, sd 0.0 (1 measured) | – |" in markdown
    assert "| rage | 0 | 0 | – | 0 |" in markdown


def test_without_samples_the_page_holds_no_picture(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "data", some())
    write_card(folder, samples=0)
    text = (folder / "card.html").read_text(encoding="utf-8")
    assert "base64" not in text
    assert "#samples" not in text
    assert "holds pictures" not in text
    write_card(folder, samples=1)
    text = (folder / "card.html").read_text(encoding="utf-8")
    assert text.count("base64") == 2
    assert "Do not publish it" in text
    with pytest.raises(InputError, match="samples is -1"):
        write_card(folder, samples=-1)


def test_a_sheet_holds_faces_of_its_class_spread_over_the_sets(tmp_path: Path) -> None:
    # Even faces are joy; of these a has the first 90 and b the last 10.
    rows = [row(i, CLASSES[i % 2], set="b" if i >= 180 else "a") for i in range(200)]
    folder = prepared(tmp_path / "data", manifest_of(rows))
    write_card(folder)
    joy, rage = (levels_of(sheet) for sheet in sheets_in(folder / "card.html"))
    for levels, odd in ((joy, 0), (rage, 1)):
        assert len(levels) == len(set(levels)) == 12
        assert all(level % 2 == odd for level in levels)
        assert sum(level >= 180 for level in levels) == 6
    # Drawn, not the first ones.
    assert max(level for level in joy if level < 180) > 30
    first = (folder / "card.html").read_bytes()
    write_card(folder)
    assert (folder / "card.html").read_bytes() == first
    turned = prepared(tmp_path / "turned", manifest_of([*rows[180:], *rows[:180]]))
    write_card(turned)
    assert levels_of(sheets_in(turned / "card.html")[0]) == joy
    other = prepared(tmp_path / "other", manifest_of(rows, seed=1))
    write_card(other)
    assert levels_of(sheets_in(other / "card.html")[0]) != joy


def test_large_colour_faces_are_shown_smaller(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "data", manifest_of([row(0, "joy"), row(1, "joy")], size=160, channels=3))
    write_card(folder)
    (sheet,) = sheets_in(folder / "card.html")
    assert sheet.shape == (SHEET_FACE, SHEET_COLUMNS * (SHEET_FACE + 2) - 2, 4)
    assert sorted(levels_of(sheet, SHEET_FACE + 2)) == [0, 1]
    # Two faces side by side, the rest is empty.
    assert not sheet[:, 2 * (SHEET_FACE + 2) :, 3].any()


def test_figure_2_stacks_the_sets_in_proportion_and_on_one_scale() -> None:
    counts = {("joy", "a"): 30, ("joy", "b"): 10, ("rage", "a"): 20}
    rows = [
        row(0, label, set=name, id=f"{label}{name}{i}", pack_row=None)
        for (label, name), n in counts.items()
        for i in range(n)
    ]
    for number, one in enumerate(rows):
        one |= {
            "pack_row": number,
            "sha256": f"{number:064x}",
            "copies": 3 if one["labels.own"] == "rage" else 1,
        }
    before, after = class_by_set_drawings(summarise(manifest_of(rows), None, None))

    def bars(svg: str) -> list[tuple[float, float]]:
        found = re.findall(
            r'd="M ([\d.]+) [\d.]+\s+L ([\d.]+) [^"]*" clip-path="[^"]*" style="fill: var\(--series', svg
        )
        return [(float(left), float(right)) for left, right in found]

    drawn = bars(before.svg)
    origin = drawn[0][0]
    scale = (drawn[0][1] - origin) / 30
    for (left, right), (start, end) in zip(drawn, [(0, 30), (0, 20), (30, 40), (20, 20)], strict=True):
        assert ((left - origin) / scale, (right - origin) / scale) == pytest.approx((start, end), abs=0.01)
    tripled = bars(after.svg)
    assert (tripled[1][1] - tripled[1][0]) / scale == pytest.approx(60, abs=0.01)
    assert before.alt.endswith("joy 40, rage 20. By set: a 50, b 10.")
    assert after.caption.endswith("100")


def test_shares_that_round_to_none_or_all_say_so() -> None:
    rows = [row(i, "joy", faces_found=1) for i in range(2999)]
    rows += [row(2999, "joy", faces_found=0)]
    markdown = card_markdown(summarise(manifest_of(rows), None, None))
    assert "none under 0.1 %, one over 99.9 % (of 3,000 searched)" in markdown
