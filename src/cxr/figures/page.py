"""The one page that every result is shown on: site, deck, figures; it asks no network."""

import html
from collections.abc import Mapping

from cxr.figures.style import GRID, INK, MUTED, PALETTE, PAPER

NOTICE = (
    "Research software, not a medical device. No score, threshold or picture from here may "
    "guide the care of a person."
)

LINK, ACCENT = PALETTE[0], PALETTE[1]

# Every pair of text and background here meets WCAG AA (4.5:1); tests compute it.
STYLE = f"""\
:root {{
  --ink: {INK}; --muted: {MUTED}; --line: {GRID}; --paper: {PAPER};
  --soft: #f5f7fa; --link: {LINK}; --accent: {ACCENT}; --notice: #fff3e6;
}}
*, *::before, *::after {{ box-sizing: border-box; }}
html {{ -webkit-text-size-adjust: 100%; scroll-padding-top: 1rem; }}
body {{
  margin: 0; color: var(--ink); background: var(--paper);
  font: 1rem/1.6 Inter, "Segoe UI", Helvetica, Arial, sans-serif; overflow-wrap: break-word;
}}
header, main, footer {{ max-width: 72rem; margin: 0 auto; padding: 0 1.25rem; }}
h1, h2, h3 {{ line-height: 1.25; margin: 2rem 0 .75rem; text-wrap: balance; }}
h1 {{ font-size: clamp(1.6rem, 1.2rem + 2vw, 2.4rem); margin-top: 1.5rem; }}
h2 {{ font-size: 1.4rem; }}
h3 {{ font-size: 1.15rem; }}
p, ul, ol, blockquote {{ max-width: 46rem; }}
a {{ color: var(--link); text-underline-offset: .15em; }}
:focus-visible {{ outline: 3px solid var(--accent); outline-offset: 2px; }}
main:focus {{ outline: none; }}
.skip {{ position: absolute; left: -999rem; top: 0; padding: .6rem 1rem; z-index: 10;
  background: var(--ink); color: var(--paper); }}
.skip:focus {{ left: 0; }}
.notice {{ margin: 0; padding: .5rem 1.25rem; background: var(--notice); text-align: center;
  font-size: .9rem; max-width: none; }}
nav ul {{ display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; list-style: none; margin: 0;
  padding: .75rem 0; border-bottom: 1px solid var(--line); max-width: none; }}
nav a {{ display: inline-block; padding: .2rem 0; text-decoration: none; }}
nav a:hover {{ text-decoration: underline; }}
nav a[aria-current] {{ color: var(--ink); font-weight: 600; }}
blockquote {{ margin: 1rem 0; padding: .1rem 1rem; border-left: 4px solid var(--accent);
  background: var(--soft); }}
code, pre {{ font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  font-size: .875em; }}
pre {{ overflow-x: auto; padding: .75rem 1rem; background: var(--soft); border-radius: 4px;
  line-height: 1.45; overflow-wrap: normal; }}
.wide {{ overflow-x: auto; margin: 1rem 0; }}
table {{ border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .35rem .75rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }}
thead th {{ border-bottom: 2px solid var(--muted); }}
figure {{ margin: 1.5rem 0; }}
figcaption {{ color: var(--muted); font-size: .9rem; max-width: 46rem; }}
img, svg {{ max-width: 100%; }}
.cards {{ display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr));
  list-style: none; padding: 0; max-width: none; }}
.cards > * {{ border: 1px solid var(--line); border-radius: 6px; padding: 1rem 1.25rem; }}
.cards h3 {{ margin: 0 0 .5rem; }}
.cards p {{ margin: 0; }}
footer {{ margin-top: 3rem; padding-top: 1rem; padding-bottom: 2rem; color: var(--muted);
  font-size: .9rem; border-top: 1px solid var(--line); }}
@media print {{
  .skip, nav {{ display: none; }}
  figure, table, pre {{ break-inside: avoid; }}
}}
"""


def page(
    title: str,
    body: str,
    *,
    links: Mapping[str, str] | None = None,
    current: str = "",
    head: str = "",
    footer: str = "",
) -> str:
    """A whole HTML page: skip link, notice, navigation, main part, footer.

    Args:
        title: as plain text; the body brings its own `<h1>`.
        body: HTML that is trusted, for `<main>`.
        links: what the navigation shows, words to relative address; none where empty.
        current: the address in `links` that is this page.
        head: more HTML for `<head>`, such as a script or a further `<style>`.
        footer: HTML that follows the notice at the foot of the page.
    """
    items = "".join(
        f'<li><a href="{html.escape(address)}"{here}>{html.escape(words)}</a></li>'
        for words, address in (links or {}).items()
        for here in (' aria-current="page"' if address == current else "",)
    )
    navigation = f'<header><nav aria-label="Pages"><ul>{items}</ul></nav></header>' if items else ""
    # An empty icon keeps a browser from asking the server for one.
    return f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<link rel="icon" href="data:,">
<style>
{STYLE}</style>
{head}
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<p class="notice">Research software, not a medical device.</p>
{navigation}
<main id="main" tabindex="-1">
{body}
</main>
<footer>
<p>{NOTICE}</p>
{footer}
</footer>
</body>
</html>
"""
