"""One HTML page from a template of mien's own: self-contained, every value escaped."""

from __future__ import annotations

from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mien import __version__


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
    # The style sheets are mien's own files and hold no value of the data.
    sheets = (here.joinpath(name).read_text(encoding="utf-8") for name in ("report.css", *styles))
    text = environment.get_template(template).render(
        **values, style=Markup("".join(sheets)), version=__version__, Markup=Markup
    )
    return text.rstrip() + "\n"


def _unbroken(value: object) -> object:
    # A unit alone on a line reads as a mistake; on a phone it would happen in most sentences.
    if type(value) is not str:
        return value
    return value.replace(" %", "\u00a0%").replace(" px", "\u00a0px").replace(" × ", "\u00a0×\u00a0")
