"""A static picture for pages that run no scripts, such as the README."""

import html
from collections.abc import Mapping

import pandas as pd

from cxr.figures.style import GRID, INK, MUTED, PALETTE, PAPER, label


def intervals(tables: Mapping[str, pd.DataFrame], title: str, note: str) -> str:
    """AUROC of each finding with its interval, as an SVG: one row a finding, one colour a run.

    Args:
        tables: run -> frame with finding, auroc, low, high, as `evaluation.auroc_by_finding`.
        title, note: above and below the picture.

    Returns:
        SVG text, 860 units wide, readable without any other file.
    """
    findings = next(iter(tables.values()))["finding"].tolist()
    left, right, top, step = 190, 60, 74, 30
    width, bottom = 860, top + step * len(findings)
    height = bottom + 74

    def x(value: float) -> float:
        return left + (value - 0.4) / 0.6 * (width - left - right)

    def text(at_x, at_y, words, *, size=14, colour=INK, anchor="start", weight="normal") -> str:
        return (
            f'<text x="{at_x:.1f}" y="{at_y:.1f}" font-size="{size}" fill="{colour}" '
            f'text-anchor="{anchor}" font-weight="{weight}">{html.escape(words)}</text>'
        )

    parts = [text(16, 30, title, size=18, weight="bold")]
    for tick in range(4, 11):
        place = x(tick / 10)
        # Half: what guessing reaches.
        colour, dash = (MUTED, ' stroke-dasharray="4 3"') if tick == 5 else (GRID, "")
        parts.append(
            f'<line x1="{place:.1f}" x2="{place:.1f}" y1="{top - 8}" y2="{bottom}" '
            f'stroke="{colour}"{dash}/>'
        )
        parts.append(text(place, bottom + 20, f"{tick / 10:.1f}", colour=MUTED, anchor="middle"))
    parts.append(text(x(0.7), bottom + 42, "AUROC (0.5: guessing)", anchor="middle"))
    for number, (run, table) in enumerate(tables.items()):
        colour = PALETTE[number % len(PALETTE)]
        parts.append(f'<circle cx="{left + 240 * number + 6}" cy="50" r="5" fill="{colour}"/>')
        mean = table.loc[table["finding"] == "Mean", "auroc"].iloc[0]
        parts.append(text(left + 240 * number + 18, 55, f"{run}: mean {mean:.3f}"))
        for row, line in enumerate(table.itertuples()):
            place = top + step * (row + 0.5) + 8 * (number - (len(tables) - 1) / 2)
            if pd.isna(line.auroc):
                continue
            if pd.notna(line.low):
                parts.append(
                    f'<line x1="{x(max(line.low, 0.4)):.1f}" x2="{x(line.high):.1f}" '
                    f'y1="{place:.1f}" y2="{place:.1f}" stroke="{colour}" stroke-width="2.5"/>'
                )
            parts.append(
                f'<circle cx="{x(line.auroc):.1f}" cy="{place:.1f}" r="4.5" fill="{colour}"/>'
            )
    for row, finding in enumerate(findings):
        weight = "bold" if finding == "Mean" else "normal"
        place = top + step * (row + 0.5) + 5
        parts.append(text(left - 14, place, label(finding), anchor="end", weight=weight))
    parts.append(text(16, height - 12, note, size=12, colour=MUTED))
    description = html.escape(f"{title}. {note}", quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{description}" font-family="Helvetica, Arial, sans-serif">'
        f'<rect width="{width}" height="{height}" fill="{PAPER}"/>{"".join(parts)}</svg>\n'
    )
