"""The owner's runbook as a page whose headings can be linked to."""

from __future__ import annotations

import re
from html import escape
from itertools import pairwise

from gauntlet.core.errors import MissingRecord
from gauntlet.core.ports import Services
from gauntlet.views.links import Places

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title><style>
:root {{ color-scheme: light dark }}
body {{ font: 15px/1.55 system-ui, sans-serif; max-width: 46rem; margin: 0 auto; padding: 1.5rem 1rem 4rem }}
code {{ font: 0.92em ui-monospace, Menlo, monospace; background: #8882; border-radius: 3px; padding: 0 0.2em }}
pre {{ overflow-x: auto; background: #8882; padding: 0.7rem; border-radius: 6px }}
pre code {{ background: none; padding: 0 }}
h2 {{ font-size: 1.1rem; margin: 2rem 0 0.4rem; padding-top: 0.6rem; border-top: 1px solid #8884 }}
:target {{ background: #f3bf6b55; outline: 0.4rem solid #f3bf6b55 }}
table {{ border-collapse: collapse }}
td, th {{ border-bottom: 1px solid #8884; padding: 0.3rem 0.8rem 0.3rem 0; text-align: left }}
</style><main>{body}</main></html>"""
_SPOKEN = re.compile(r"[^a-z0-9 _-]")


def runbook(services: Services, places: Places, model: str) -> str:
    """The owner's runbook as HTML; only a Markdown file among the repository's documents is ever read.

    Raises:
        MissingRecord: the spec names no such file.
    """
    where = services.specs.get(model).owner.runbook.partition("#")[0]
    path = (places.documents / where.removeprefix("docs/")).resolve()
    if path.suffix != ".md" or not path.is_relative_to(places.documents.resolve()) or not path.is_file():
        raise MissingRecord(f"{model}: owner.runbook: {where} is no Markdown file in {places.documents}")
    return page(f"Runbook of {model}", path.read_text(encoding="utf-8"))


def page(title: str, markdown: str) -> str:
    """Markdown as a page of its own: HTML in it is shown as text, links to other files lead nowhere.

    >>> '<h2 id="alert-dataskew">Alert data.skew</h2>' in page("t", "## Alert data.skew")
    True
    """
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = reader.parse(markdown)
    for opening, inside in pairwise(tokens):
        if opening.type == "heading_open":
            opening.attrSet("id", anchor(inside.content))
    for link in (child for token in tokens for child in token.children or () if child.type == "link_open"):
        if not str(link.attrs.get("href", "")).startswith(("https://", "http://", "#")):
            link.attrs.pop("href", None)
    return PAGE.format(title=escape(title), body=reader.renderer.render(tokens, reader.options, {}))


def anchor(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it.

    >>> anchor("Alert data.missing_rate")
    'alert-datamissing_rate'
    """
    return _SPOKEN.sub("", heading.lower()).replace(" ", "-")
