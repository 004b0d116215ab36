"""One HTML page from a template of mien's own: self-contained, every value escaped."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from typing import Final
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mien import __version__
from mien.report.document import Table

_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
)


def render(template: str, *, styles: tuple[str, ...] = (), **values: object) -> str:
    """The page.

    Args:
        template: file name in `jinja/`.
        styles: further style sheets there, after the one that all pages have.
        values: what the template shows; text is escaped, `Markup` is written as it is.
    """
    environment = Environment(
        loader=PackageLoader("mien.report", "jinja"),
        finalize=_unbroken,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    here = files("mien.report").joinpath("jinja")
    environment.filters |= {"csv_uri": _csv_uri, "file_name": _file_name}
    # Style sheets and script are mien's own files and hold no value of the data.
    sheets = (here.joinpath(name).read_text(encoding="utf-8") for name in ("report.css", *styles))
    script = here.joinpath("report.js").read_text(encoding="utf-8")
    text = environment.get_template(template).render(
        **values,
        style=Markup("".join(sheets)),
        script=Markup(script),
        policy=f"{_POLICY}; script-src '{_digest(script)}'",
        version=__version__,
    )
    return text.rstrip() + "\n"


def _digest(script: str) -> str:
    """How a content security policy names the one script that may run."""
    return f"sha256-{b64encode(sha256(script.encode()).digest()).decode()}"


def _csv_uri(table: Table) -> str:
    return f"data:text/csv;charset=utf-8,{quote(table.to_csv())}"


def _file_name(text: str) -> str:
    """A text as the stem of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "data"


def _unbroken(value: object) -> object:
    # A unit alone on a line reads as a mistake; on a phone it would happen in most sentences.
    if type(value) is not str:
        return value
    return value.replace(" %", "\u00a0%").replace(" px", "\u00a0px").replace(" × ", "\u00a0×\u00a0")
