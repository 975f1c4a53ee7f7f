"""A figure in words: what it shows, and what it finds, for who cannot see it."""

import base64
import re
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import plotly.graph_objects as go

from cxr.figures.style import PALETTE, readable

# Series, and panels, of which a sentence tells; more would not be listened to.
_SERIES, _PANELS = 3, 4


def spoken(figure: go.Figure) -> str:
    """The figure's title without markup: what a screen reader says."""
    title = figure.layout.title.text
    if not title:
        raise ValueError("a figure needs a title: it is also its text for screen readers")
    return _plain(title)


def described(figure: go.Figure) -> str:
    """What a static picture shows: title, note, axes, series, and what these find."""
    layout = figure.layout
    names = dict.fromkeys(trace.name for trace in figure.data if trace.name)
    axes = [axis.title.text for axis in (*figure.select_xaxes(), *figure.select_yaxes())]
    parts = {
        "": [spoken(figure)],
        "Note: ": [layout.title.subtitle.text],
        "Axes: ": dict.fromkeys(filter(None, axes)),
        "Shown: ": list(names)[:14],
        "Found: ": [found(figure)],
    }
    told = (start + ", ".join(filter(None, texts)) for start, texts in parts.items() if any(texts))
    return ". ".join(_plain(text).rstrip(".") for text in told)


def found(figure: go.Figure) -> str:
    """What the data say: the extremes by name, of every series or of the panels.

    Returns:
        "" for a figure that holds nothing, or nothing that has a name.
    """
    for say in (_pictures, _matrices, _named, _numbered, _panels, _remarks):
        said = say(figure)
        if said:
            return said
    return ""


def _values(held) -> np.ndarray:
    """A trace's values, also as plotly writes arrays into JSON: bytes of a named type."""
    if isinstance(held, dict):
        flat = np.frombuffer(base64.b64decode(held["bdata"]), held["dtype"])
        return flat.reshape([int(n) for n in str(held.get("shape", len(flat))).split(",")])
    return np.array([] if held is None else held)


def _plain(text: str) -> str:
    return " ".join(re.sub("<[^>]*>|&nbsp;", " ", text).split())


def _spelled(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.3g}"


def _extremes(values: Iterable[tuple[str, float]]) -> str:
    """The highest and the lowest of named values."""
    known = [(name, value) for name, value in values if np.isfinite(value)]
    if not known:
        return ""
    (low, least), (high, most) = (choose(known, key=lambda one: one[1]) for choose in (min, max))
    if least == most:
        return f"{high}: {_spelled(most)}" if len(known) == 1 else f"all {_spelled(most)}"
    return f"highest {high}: {_spelled(most)}, lowest {low}: {_spelled(least)}"


def _pictures(figure: go.Figure) -> str:
    """Of films and maps, what their captions say."""
    if not figure.data or any(trace.type != "image" for trace in figure.data):
        return ""
    captions = [note.text for note in figure.layout.annotations if note.text]
    kinds = Counter(caption.partition("<br>")[0] for caption in captions)
    if len(kinds) < len(captions):
        return ", ".join(f"{number} {_plain(kind)}" for kind, number in kinds.items())
    return f"{len(figure.data)} pictures, from {_plain(captions[0])} to {_plain(captions[-1])}"


def _matrices(figure: go.Figure) -> str:
    """The extremes of one table in colours, or the range of several."""
    maps = [trace for trace in figure.data if trace.type == "heatmap"]
    if len(maps) != 1:
        values = np.concatenate([_values(one.z).ravel() for one in maps]) if maps else np.empty(0)
        low, high = (_spelled(f(values)) for f in (np.nanmin, np.nanmax)) if len(maps) else ("", "")
        return f"{len(maps)} panels, values from {low} to {high}" if maps else ""
    (only,) = maps
    z = _values(only.z).astype(float)
    if not np.isfinite(z).any():
        return ""
    shown = _values(only.customdata if only.text is None else only.text)
    # The colours may stand for something else than the numbers in the cells.
    written = [[re.match(r"-?[\d,]*\.?\d+", str(cell)) for cell in row] for row in shown]
    if all(
        number or not np.isfinite(z[i, j])
        for i, row in enumerate(written)
        for j, number in enumerate(row)
    ):
        z = np.array(
            [
                [float(number[0].replace(",", "")) if number else np.nan for number in row]
                for row in written
            ]
        )
    rows, columns = _values(only.y), _values(only.x)
    places = (np.unravel_index(choose(z), z.shape) for choose in (np.nanargmax, np.nanargmin))
    high, low = (
        f"{_place(figure, rows[row], columns[column])}: {_cell(shown[row][column])}"
        for row, column in places
    )
    return f"highest {high}, lowest {low}"


def _place(figure: go.Figure, row, column) -> str:
    """A cell of a table by its names; where these are numbers, by what they measure."""
    if isinstance(row, str) or isinstance(column, str):
        return f"{_plain(str(row))} and {_plain(str(column))}"
    across, up = figure.layout.xaxis.title.text, figure.layout.yaxis.title.text
    return f"{across} {_spelled(column)} and {up} {_spelled(row)}"


def _cell(value) -> str:
    return _spelled(float(value)) if isinstance(value, int | float | np.number) else str(value)


def _named(figure: go.Figure) -> str:
    """The extremes of each series whose values stand beside names."""
    said = []
    for trace in figure.data:
        told = _extremes(_beside_names(figure, trace)) if trace.showlegend is not False else ""
        if told:
            said.append(f"{trace.name}: {told}" if trace.name else told)
    return "; ".join(said[:_SERIES])


def _beside_names(figure: go.Figure, trace) -> Iterator[tuple[str, float]]:
    x, y = _values(trace.median if trace.type == "box" else trace.x), _values(trace.y)
    if not len(x) or not len(y):
        return
    if isinstance(y[0], str):
        yield from ((_plain(name), _number(value)) for name, value in zip(y, x, strict=False))
    elif isinstance(x[0], str):
        yield from ((_plain(name), _number(value)) for name, value in zip(x, y, strict=False))
    elif names := figure.layout.yaxis.ticktext:
        # Series are shifted a little within their rows.
        rows = (min(max(round(place + 0.001), 0), len(names) - 1) for place in y)
        yield from ((_plain(names[row]), _number(v)) for row, v in zip(rows, x, strict=True))


def _number(value) -> float:
    return np.nan if value is None else float(value)


def _numbered(figure: go.Figure) -> str:
    """The extremes of the numbers that stand in the panels of a grid."""
    captions = [note for note in figure.layout.annotations if note.xref == "paper"]
    numbers = [note for note in figure.layout.annotations if note.xref != "paper"]
    if len(captions) != len(numbers) or not numbers:
        return ""
    # The number of the first series has its colour, or stands alone.
    series = next((trace.name for trace in figure.data if trace.name), "")
    ink = rf"<span style='color:{readable(PALETTE[0])}'>"
    first = (
        re.search((ink if "<span" in note.text else "") + r"[^\d<]*(\d\.\d+)", note.text)
        for note in numbers
    )
    told = _extremes(
        (_plain(caption.text), float(number[1]))
        for caption, number in zip(captions, first, strict=True)
        if number
    )
    return told and f"{series}: {told}"


def _panels(figure: go.Figure) -> str:
    """How high the curves of each panel reach: of few panels the range, of many the extremes."""
    captions = [note.text for note in figure.layout.annotations if note.xref == "paper"]
    axes = sorted({trace.yaxis or "y" for trace in figure.data}, key=lambda y: int(y[1:] or 1))
    heights: dict[str, np.ndarray] = {}
    for name, axis in zip(captions, axes, strict=False):
        curves = [t.y for t in figure.data if (t.yaxis or "y") == axis and t.hoverinfo != "skip"]
        values = np.array([_number(v) for y in curves for v in _values(y)])
        values = values[np.isfinite(values)]
        if len(values):
            heights[_plain(name)] = values
    if len(heights) > _PANELS:
        told = _extremes((name, float(values.max())) for name, values in heights.items())
        return f"the curves reach: {told}"
    return "; ".join(
        f"{name} from {_spelled(values.min())} to {_spelled(values.max())}"
        for name, values in heights.items()
    )


def _remarks(figure: go.Figure) -> str:
    """Why there is nothing to draw."""
    return ", ".join(dict.fromkeys(_plain(n.text) for n in figure.layout.annotations if n.text))
