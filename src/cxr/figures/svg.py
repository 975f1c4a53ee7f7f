"""Static pictures for pages that run no scripts, such as the README."""

import html
import math
from collections.abc import Mapping

import pandas as pd

from cxr.figures.style import GRID, INK, MUTED, PALETTE, PAPER, label
from cxr.findings import FINDINGS, TOO_FEW


def roc(
    curves: Mapping[str, pd.DataFrame],
    tables: Mapping[str, pd.DataFrame],
    title: str,
    note: str,
) -> str:
    """ROC curve of each finding with AUROC and interval, as an SVG for a wide page.

    Args:
        curves: run -> frame of `ranking.roc_curves`.
        tables: run -> frame of `ranking.auroc_by_finding`; same runs.
        title, note: above and below the picture.

    Returns:
        SVG text, 860 units wide, readable without any other file.
    """
    columns, left, top, wide, high, across, down = 5, 46, 66, 142, 98, 163, 128
    rows = -(-(len(FINDINGS) + 1) // columns)
    bottom = top + rows * down
    parts = [_text(16, 30, title, size=18, weight="bold")]
    for place, finding in enumerate(FINDINGS):
        x, y = left + place % columns * across, top + place // columns * down
        parts.append(_text(x + wide / 2, y - 6, label(finding), anchor="middle", weight="bold"))
        parts.append(f'<rect x="{x}" y="{y}" width="{wide}" height="{high}" fill="none" {_LINE}/>')
        parts.append(
            f'<line x1="{x}" y1="{y + high}" x2="{x + wide}" y2="{y}" stroke="{MUTED}" '
            'stroke-opacity=".4" stroke-dasharray="4 3"/>'
        )
        for number, (run, curve) in enumerate(curves.items()):
            colour = PALETTE[number % len(PALETTE)]
            part = curve[curve["finding"] == finding]
            points = " ".join(
                f"{x + wide * a:.1f},{y + high * (1 - b):.1f}"
                for a, b in zip(part["false_positive_rate"], part["sensitivity"], strict=True)
            )
            parts.append(
                f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8"/>'
            )
            row = tables[run].set_index("finding").loc[finding]
            line = y + high - 8 - 15 * (len(curves) - 1 - number)
            parts.append(
                _text(x + wide - 6, line, _value(row), size=12, colour=colour, anchor="end")
            )
        if place % columns == 0:
            middle = f"rotate(-90 {x - 10} {y + high / 2})"
            parts.append(
                f'<g transform="{middle}">'
                + _text(x - 10, y + high / 2, "sensitivity", size=12, colour=MUTED, anchor="middle")
                + "</g>"
            )
        if place + columns >= len(FINDINGS):
            under = y + high + 16
            parts.append(
                _text(
                    x + wide / 2, under, "1 − specificity", size=12, colour=MUTED, anchor="middle"
                )
            )
    place = len(FINDINGS)
    x, y = left + place % columns * across, top + place // columns * down
    for number, (run, table) in enumerate(tables.items()):
        mean = table.set_index("finding").loc["Mean"]
        colour, line = PALETTE[number % len(PALETTE)], y + 12 + 44 * number
        parts.append(f'<rect x="{x}" y="{line - 9}" width="16" height="4" fill="{colour}"/>')
        parts.append(_text(x + 22, line, run, weight="bold"))
        parts.append(_text(x, line + 18, f"mean {_value(mean)}", size=12))
    parts.append(_text(16, bottom + 24, note, size=12, colour=MUTED))
    return _picture(parts, 860, bottom + 38, f"{title}. {note}")


def intervals(tables: Mapping[str, pd.DataFrame], title: str, note: str) -> str:
    """AUROC of each finding with its interval, as an SVG for a phone: one row a finding.

    Args:
        tables: run -> frame with finding, auroc, low, high, as `ranking.auroc_by_finding`.
        title, note: above and below the picture; the note's lines are broken here.

    Returns:
        SVG text, 390 units wide, readable without any other file.
    """
    findings = next(iter(tables.values()))["finding"].tolist()
    width, left, right, step = 390, 132, 16, 27
    top = 52 + 22 * len(tables)
    bottom = top + step * len(findings)
    smallest = min(table[["auroc", "low"]].min().min() for table in tables.values())
    start = min(4, math.floor(10 * smallest))

    def x(value: float) -> float:
        return left + (10 * value - start) / (10 - start) * (width - left - right)

    parts = [_text(12, 28, title, size=16, weight="bold")]
    for tick in range(start, 11):
        place = x(tick / 10)
        # Half: what guessing reaches.
        paint = f'stroke="{MUTED}" stroke-dasharray="4 3"' if tick == 5 else _LINE
        parts.append(f'<line x1="{place:.1f}" x2="{place:.1f}" y1="{top}" y2="{bottom}" {paint}/>')
        words = f"{tick / 10:.1f}"
        parts.append(_text(place, bottom + 18, words, colour=MUTED, anchor="middle", size=13))
    middle = x((10 + start) / 20)
    parts.append(_text(middle, bottom + 38, "AUROC (0.5: guessing)", anchor="middle"))
    for number, (run, table) in enumerate(tables.items()):
        colour = PALETTE[number % len(PALETTE)]
        parts.append(f'<circle cx="18" cy="{47 + 22 * number}" r="5" fill="{colour}"/>')
        mean = table.set_index("finding").loc["Mean"]
        parts.append(_text(30, 52 + 22 * number, f"{run}: mean {_value(mean)}"))
        for row, line in enumerate(table.itertuples()):
            place = top + step * (row + 0.5) + 9 * (number - (len(tables) - 1) / 2)
            if pd.isna(line.auroc):
                continue
            if pd.notna(line.low):
                parts.append(
                    f'<line x1="{x(line.low):.1f}" x2="{x(line.high):.1f}" '
                    f'y1="{place:.1f}" y2="{place:.1f}" stroke="{colour}" stroke-width="2.5"/>'
                )
            parts.append(
                f'<circle cx="{x(line.auroc):.1f}" cy="{place:.1f}" r="4" fill="{colour}"/>'
            )
    for row, finding in enumerate(findings):
        weight = "bold" if finding == "Mean" else "normal"
        place = top + step * (row + 0.5) + 5
        parts.append(_text(left - 12, place, label(finding), anchor="end", weight=weight))
    lines = _broken(note, 58)
    for number, words in enumerate(lines):
        parts.append(_text(12, bottom + 64 + 17 * number, words, size=13, colour=MUTED))
    return _picture(parts, width, bottom + 64 + 17 * len(lines), f"{title}. {note}")


_LINE = f'stroke="{GRID}"'


def _value(row: pd.Series) -> str:
    """An AUROC with its interval, short."""
    if pd.isna(row["auroc"]):
        return TOO_FEW
    if pd.isna(row["low"]):
        return f"{row['auroc']:.2f}"
    return f"{row['auroc']:.2f} ({row['low']:.2f}–{row['high']:.2f})"


def _text(
    x: float,
    y: float,
    words: str,
    *,
    size: int = 14,
    colour: str = INK,
    anchor: str = "start",
    weight: str = "normal",
) -> str:
    # A rim of paper keeps words legible where a curve runs behind them.
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" '
        f'font-weight="{weight}" stroke="{PAPER}" stroke-width="3" paint-order="stroke">'
        f"{html.escape(words)}</text>"
    )


def _broken(words: str, most: int) -> list[str]:
    """The words in lines of at most so many characters."""
    lines = [""]
    for word in words.split():
        if len(lines[-1]) + len(word) >= most:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _picture(parts: list[str], width: int, height: float, description: str) -> str:
    """The SVG, on paper of its own so that it is readable on a dark page, too."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:.0f}" role="img" '
        f'aria-label="{html.escape(description, quote=True)}" '
        'font-family="Helvetica, Arial, sans-serif">'
        f'<rect width="{width}" height="{height:.0f}" rx="6" fill="{PAPER}"/>{"".join(parts)}'
        "</svg>\n"
    )
