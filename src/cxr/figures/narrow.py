"""How a figure of many panels stands on a phone: fewer columns, not smaller letters."""

import textwrap
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

# Pixels across that a phone leaves for a figure; letters are seldom wider than these.
WIDTH = 350
_TITLE_LETTER, _NOTE_LETTER = 8.2, 6.2

_LEFT, _RIGHT, _CAPTION, _TICKS = 52, 10, 26, 24


def columns(figure: go.Figure, number: int, *, panel: int = 0) -> None:
    """Say in how many columns a figure's panels stand on a phone.

    Args:
        panel: height of each, in pixels; by default, what suits their number.
    """
    figure.layout.meta = {"narrow": number} | ({"panel": panel} if panel else {})


def reflowed(figure: go.Figure) -> dict | None:
    """What changes in the layout on a phone, as arguments of `Plotly.relayout`.

    Returns:
        Paths such as "xaxis3.domain" to values, and "height" in pixels; None for a figure
        that keeps its layout and scrolls: one without `columns`.
    """
    said = figure.layout.meta or {}
    number = said.get("narrow")
    if not number:
        return None
    panels = _panels(figure)
    rows = -(-len(panels) // number)
    pictures = all(trace.type == "image" for trace in figure.data)
    lines = max((str(a.text).count("<br>") for a in figure.layout.annotations), default=0)
    left = 10 if pictures else _LEFT
    across = (WIDTH - left - _RIGHT) / number
    usual = across * 0.96 if pictures else 170 if number == 1 else 125
    panel = said.get("panel", usual)
    titled = not pictures and all(figure.layout[x].title.text for x, _ in panels)
    # The title of an axis stands lower where its panel is higher.
    ticks = 0 if pictures else _TICKS + (36 if number == 1 else 20) * titled
    step = panel + _CAPTION + 15 * lines + ticks
    changes, top = _titles(figure)
    named = [t for t in figure.data if t.type != "image" and t.showlegend is not False and t.name]
    bottom = 20 if pictures else 50 + 22 * len(named)
    plot = rows * step
    height = round(top + plot + bottom)
    changes |= {"height": height, "title.y": round(1 - 16 / height, 4), "margin": {
        "l": left, "r": _RIGHT, "t": top, "b": bottom}}  # fmt: skip
    changes |= {"legend": {"orientation": "v", "yref": "container", "y": 0.005,
        "yanchor": "bottom", "x": 0, "xanchor": "left", "font": {"size": 12}}}  # fmt: skip
    notes = figure.layout.to_plotly_json().get("annotations", ())
    gap = 0.0 if number == 1 else (0.02 if pictures else 0.12) / number
    for place, (x, y) in enumerate(panels):
        row, column = divmod(place, number)
        start = column / number + (gap if column else 0)
        end = (column + 1) / number - (gap if column < number - 1 else 0)
        high = 1 - (row * step + step - panel - ticks) / plot
        changes[f"{x}.domain"] = [round(start, 4), round(end, 4)]
        changes[f"{y}.domain"] = [round(max(high - panel / plot, 0), 4), round(high, 4)]
        for at in _captions(notes, figure.layout[x].domain, figure.layout[y].domain):
            changes[f"annotations[{at}].x"] = round((start + end) / 2, 4)
            changes[f"annotations[{at}].y"] = round(high, 4)
    return changes | ({} if pictures else _axes(figure, panels, number))


def _panels(figure: go.Figure) -> list[tuple[str, str]]:
    """Names of the axes of every panel that is seen, with data or without, in reading order."""
    used = {(t.xaxis or "x", t.yaxis or "y") for t in figure.data}
    seen = (axis for axis in figure.select_xaxes() if axis.visible is not False and axis.anchor)
    used |= {(axis.plotly_name.replace("axis", ""), axis.anchor) for axis in seen}
    full = [(x.replace("x", "xaxis"), y.replace("y", "yaxis")) for x, y in used]
    return sorted(full, key=lambda axes: int(axes[0][5:] or 1))


def _captions(notes: Sequence[Mapping], across: Sequence[float], up: Sequence[float]) -> list[int]:
    """The places of the annotations that stand above a panel, of these domains, as its caption."""
    return [
        place
        for place, note in enumerate(notes)
        if note.get("xref") == note.get("yref") == "paper"
        and abs(note["x"] - sum(across) / 2) < 1e-6
        and abs(note["y"] - up[1]) < 1e-6
    ]


def _titles(figure: go.Figure) -> tuple[dict, int]:
    """The title and its note on as many lines as they need, and the height of all, in pixels."""
    title = figure.layout.title
    told = [
        textwrap.wrap(text or "", int((WIDTH - 10) / letter))
        for text, letter in ((title.text, _TITLE_LETTER), (title.subtitle.text, _NOTE_LETTER))
    ]
    text = "<br>".join(told[0])
    # A subtitle is placed for one line of title, so the note follows in the title itself.
    if told[1]:
        small = "".join(f"<br><span style='font-size:12px'>{line}</span>" for line in told[1])
        text += small
    changes = {"title.text": text, "title.font.size": 15, "title.subtitle.text": ""}
    changes |= {"title.yref": "container", "title.yanchor": "top"}  # fmt: skip
    return changes, 26 + 20 * len(told[0]) + 20 * len(told[1])


def _axes(figure: go.Figure, panels: list[tuple[str, str]], number: int) -> dict:
    """Ticks and titles: of y in the first column, of x at the end of each column."""
    layout = figure.layout
    own = {axis: layout[axis].title.text for pair in panels for axis in pair}
    across = next((own[x] for x, _ in panels if own[x]), "")
    up = next((own[y] for _, y in panels if own[y]), "")
    everywhere = all(own[x] for x, _ in panels)
    shared = any(layout[y].showticklabels is False for _, y in panels)
    changes: dict = {}
    for place, (x, y) in enumerate(panels):
        last = place >= len(panels) - number
        below = own[x] or across if last or everywhere else ""
        # One below the other, panels may measure different things.
        beside = own[y] or (up if number > 1 else "") if place % number == 0 else ""
        changes[f"{x}.title.text"] = "<br>".join(textwrap.wrap(below, 44 // number))
        changes[f"{y}.title.text"] = beside
        changes |= {f"{axis}.title.font.size": 12 for axis in (x, y)}
        changes |= {f"{axis}.tickfont.size": 11 for axis in (x, y)}
        if shared:
            changes[f"{y}.showticklabels"] = place % number == 0
    for place, note in enumerate(layout.annotations):
        if note.xref != "paper":  # numbers within a panel
            changes[f"annotations[{place}].font.size"] = 11
    return changes
