"""The page, its Markdown twin and its JSON: what they hold, that they agree, that nothing is loaded."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mien.card import USE_WARNING
from mien.config import DrawnConfig, PrepareConfig
from mien.data.prepare import prepare
from mien.errors import InputError
from mien.report.document import Document, Section, Table, Text, to_markdown
from mien.report.html import to_html, write_report

from .conftest import run_config

MakeRun = Callable[..., Path]
MOST = [i % 10 < 7 for i in range(400)]
MORE = [i % 10 < 9 for i in range(400)]


class Page(HTMLParser):
    """Tags with their attributes, and the ids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def table_2(make_run: MakeRun, **kwargs: object) -> list[Path]:
    return [
        make_run("swin", run_config(), MOST, **kwargs),
        make_run("swin_se", run_config(se="pooled"), MOST, **kwargs),
        make_run("swin_se_sam", run_config(se="pooled", rho=0.05), MORE, **kwargs),
    ]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A small prepared folder and its hash."""
    folder = tmp_path_factory.mktemp("data") / "drawn"
    manifest = prepare("drawn", folder, PrepareConfig(size=24, drawn=DrawnConfig(80), template_sample=0))
    return folder, manifest.hash()


def test_the_report_of_table_2(make_run: MakeRun, prepared: tuple[Path, str], tmp_path: Path) -> None:
    data, manifest_hash = prepared
    runs = table_2(make_run, manifest_hash=manifest_hash)
    page = write_report(runs, tmp_path / "out" / "page.html", data=data, extra=["The model was exported."])
    assert page == tmp_path / "out" / "page.html"
    text = page.read_text(encoding="utf-8").replace("\u00a0", " ")
    markdown = page.with_suffix(".md").read_text(encoding="utf-8")
    values = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))

    for shown in (text, markdown):
        assert shown.index("No difference: Swin to Swin-SE (+0.00 points)") < shown.index("Table 2")
        assert "Gain: Swin-SE to Swin-SE-SAM (+20.00 points)" in shown
        assert "interval over seeds is missing" in shown
        assert USE_WARNING in shown
        assert "The model was exported." in shown
        assert manifest_hash in shown
        assert "0123456789ab" in shown
        assert "49.21 %" in shown
    for column, run in zip(values["columns"], runs, strict=True):
        for figures in json.loads((run / "evaluation" / "test.json").read_text(encoding="utf-8")):
            told = column["figures"][figures["view"]]
            assert told["accuracy"] == figures["accuracy"]
            assert told["interval"] == figures["accuracy_interval"]
            assert told["f1"] == figures["weighted_f1"]
            assert told["confusion"] == figures["confusion"]
            for shown in (text, markdown):
                assert f"{100 * figures['accuracy']:.2f} %" in shown
                assert f"{100 * figures['weighted_f1']:.2f} %" in shown
    assert [view["verdict"] for gain in values["gains"] for view in gain["views"]] == [
        *("no difference",) * 2,
        *("gain",) * 4,
    ]
    assert values["published"]["table_2"][2]["f1"] == 0.5420


def test_the_page_loads_nothing_and_every_figure_is_described(
    make_run: MakeRun, prepared: tuple[Path, str], tmp_path: Path
) -> None:
    data, manifest_hash = prepared
    runs = table_2(make_run, manifest_hash=manifest_hash)
    text = write_report(runs, tmp_path / "page.html", data=data).read_text(encoding="utf-8")
    page = Page(text)
    assert re.search(r"https?://|//[a-z]|url\((?!#)|@import", text) is None
    assert page.named("script") == [{}]
    assert not page.named("link")
    assert not page.named("metadata")
    for tag, attributes in page.tags:
        for name in ("src", "href"):
            target = attributes.get(name) or "#"
            assert target.startswith(("#", "./page.", "data:text/csv", "data:image/png")), (tag, target)
        assert not any(name.startswith("on") for name in attributes), tag
    drawings = page.named("svg")
    # Three splits' class counts, two training curves, and confusion and reliability of each model.
    assert len(drawings) >= 3 + 2 + 3 + 3
    data = [details for details in page.named("details") if details.get("class") == "data"]
    saves = [link for link in page.named("a") if "download" in link]
    assert len(data) == len(saves) == len(drawings)
    assert all(drawing["role"] == "img" and len(drawing["aria-label"] or "") > 40 for drawing in drawings)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    referred = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    assert referred <= set(ids)
    policies = [meta for meta in page.named("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    policy = policies[0]["content"] or ""
    assert "default-src 'none'" in policy
    script = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy


def test_the_same_runs_give_the_same_bytes(make_run: MakeRun, tmp_path: Path) -> None:
    runs = table_2(make_run)
    first, second = (write_report(runs, tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert first.replace(b"a.md", b"b.md").replace(b"a.json", b"b.json") == second


def test_a_run_named_like_markup_is_text(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [
        make_run("<script>alert(1)<|script>", run_config(), MOST),
        make_run("$x^2$ & `_y_` -->", run_config(), MORE),
        make_run(
            "_z", run_config(rho=0.1), MORE, classes=("<b>", "語", "$\\frac{", "_under"), views=("all",)
        ),
    ]
    page = write_report(runs, tmp_path / "page.html")
    text, markdown = page.read_text(encoding="utf-8"), page.with_suffix(".md").read_text(encoding="utf-8")
    assert Page(text).named("script") == [{}]
    assert not Page(text).named("b")
    assert "&lt;script&gt;alert(1)" in text
    assert "<script" not in markdown
    assert "alert(1)&lt;\\|script>" in markdown
    assert "語" in text


def test_own_classes_have_no_comparison_and_a_reason(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run("own", run_config(), MOST, classes=("smile", "frown"), views=("all",))
    page = write_report([folder], tmp_path)
    assert page == tmp_path / "report.html"
    markdown = page.with_suffix(".md").read_text(encoding="utf-8")
    assert "No comparison with the paper for Swin" in markdown
    assert "smile and frown" in markdown
    assert "49.21" not in markdown
    assert "## Gains" not in markdown


def test_validation_figures_are_called_that(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run("a", run_config(), MOST, splits=("validation",))
    markdown = write_report([folder], tmp_path).with_suffix(".md").read_text(encoding="utf-8")
    assert "On 400 validation images of 8 classes" in markdown
    assert "These are validation figures, because the test split was not evaluated for a" in markdown


def test_three_seeds_need_no_warning(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [
        make_run(f"{name}{seed}", run_config(se=se, seed=seed), correct)
        for name, se, correct in (("a", "none", MOST), ("b", "pooled", MORE))
        for seed in range(3)
    ]
    markdown = write_report(runs, tmp_path).with_suffix(".md").read_text(encoding="utf-8")
    assert "interval over seeds is missing" not in markdown
    assert "over 3 seeds +20.00 to +20.00" in markdown
    assert "summed over 3 seeds" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_data_must_be_what_the_runs_were_trained_on(
    make_run: MakeRun, prepared: tuple[Path, str], tmp_path: Path
) -> None:
    folder = make_run("a", run_config(), MOST)
    with pytest.raises(InputError, match="its manifest is not the one"):
        write_report([folder], tmp_path, data=prepared[0])
    with pytest.raises(InputError, match="prepare the data with"):
        write_report([folder], tmp_path, data=tmp_path)
    assert not (tmp_path / "report.html").exists()
    own = make_run("own", run_config(), MOST, manifest_hash=prepared[1], data=prepared[0])
    text = write_report([own], tmp_path).read_text(encoding="utf-8")
    assert "before balancing" in text


def test_a_document_is_escaped_everywhere() -> None:
    bad = "<i onload=x>"
    table = Table(bad, (bad, bad), ((bad, bad),), notes=(bad,))
    document = Document(bad, bad, (Section(bad, (Text(bad), table), folded=True),))
    assert not Page(to_html(document, twins=[bad])).named("i")
    assert "<i" not in to_markdown(document)
    with pytest.raises(ValueError, match="cells"):
        Table("short", ("a", "b"), (("a",),))
