"""One visual identity: colours, markers, dashes and the plotly template."""

import plotly.graph_objects as go
import plotly.io

from cxr.findings import FINDINGS, NO_FINDING

# Text and background meet WCAG AA contrast (4.5:1).
INK, MUTED, GRID, PAPER = "#1f2933", "#52606d", "#e4e7eb", "#ffffff"

# Splits, models and groups take these in order: Okabe and Ito's palette (2008), made
# to be told apart with every kind of colour blindness; its yellow is too pale on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, "#rrggbb", by WCAG 2: from 1 to 21."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4
                            for p in parts)  # fmt: skip
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def readable(colour: str) -> str:
    """The colour, darkened until text in it on paper, or paper on it, has AA contrast."""
    while contrast(colour, PAPER) < 4.5:
        parts = [round(0.97 * int(colour[at : at + 2], 16)) for at in (1, 3, 5)]
        colour = "#" + "".join(f"{part:02x}" for part in parts)
    return colour


SPLIT_COLOURS = {"train": PALETTE[0], "validation": PALETTE[5], "test": PALETTE[1]}

# Fourteen hues cannot all be told apart, so each finding also has a marker and a dash
# of its own: the seven colours twice, the second time with another shape.
FINDING_COLOURS = {f: PALETTE[i % 7] for i, f in enumerate(FINDINGS)} | {NO_FINDING: MUTED}
FINDING_DASHES = {f: ("solid", "dash")[i // 7] for i, f in enumerate(FINDINGS)}
FINDING_SYMBOLS = {f: ("circle", "diamond")[i // 7] for i, f in enumerate(FINDINGS)}

TEMPLATE = go.layout.Template(
    layout=go.Layout(
        font={"family": "Inter, Segoe UI, Helvetica, Arial, sans-serif", "size": 13, "color": INK},
        title={"font": {"size": 17}, "x": 0.01, "xanchor": "left"},
        paper_bgcolor=PAPER,
        plot_bgcolor=PAPER,
        colorway=list(PALETTE),
        colorscale={"sequential": "Viridis", "diverging": "RdBu"},
        xaxis={"gridcolor": GRID, "zerolinecolor": GRID, "linecolor": MUTED, "automargin": True},
        yaxis={"gridcolor": GRID, "zerolinecolor": GRID, "linecolor": MUTED, "automargin": True},
        legend={"bgcolor": "rgba(255,255,255,0.8)"},
        hoverlabel={"bgcolor": PAPER, "font": {"color": INK}},
        margin={"l": 60, "r": 30, "t": 60, "b": 50},
        height=480,
    )
)
plotly.io.templates["cxr"] = TEMPLATE
plotly.io.templates.default = "cxr"
