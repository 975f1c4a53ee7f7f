"""Markdown as HTML, for pages: our own documents, and cards that came from elsewhere."""

import re

from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath


def trusted(text: str) -> str:
    """Markdown of the project; HTML in it stays HTML."""
    return _rendered(text, escape=False)


def untrusted(text: str, *, level: int) -> str:
    """Markdown of any origin: HTML in it is shown as text, and no link runs a script.

    Args:
        text: Markdown.
        level: how far its headings are set below those of the page.
    """
    content = _rendered(text, escape=True)
    # What is fetched from elsewhere would tell its server who reads here.
    content = re.sub(r"<img\b[^>]*>", "", content)
    content = re.sub(r'<a href="(?!https?://|#)[^"]*"', "<a", content)
    return re.sub(
        r"(</?h)([1-6])\b", lambda found: f"{found[1]}{min(int(found[2]) + level, 6)}", content
    )


def scrolling(table: str) -> str:
    """A table on a narrow screen scrolls, also by keyboard, instead of widening the page."""
    return f'<div class="wide" role="region" aria-label="Table" tabindex="0">{table}</div>'


def wide_tables(text: str) -> str:
    """Let the tables of Markdown scroll by themselves; those of outputs do already."""
    return re.sub(r"<table>.*?</table>", lambda found: scrolling(found[0]), text, flags=re.DOTALL)


def _rendered(text: str, *, escape: bool) -> str:
    rendered = MarkdownWithMath(renderer=IPythonRenderer(escape=escape)).render(text)
    return wide_tables(re.sub('<a class="anchor-link".*?</a>', "", rendered))
