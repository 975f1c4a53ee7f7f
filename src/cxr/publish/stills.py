"""One hit, one miss, one false alarm: films with heatmap and boxes, for slides to show."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cxr import artifacts, figures
from cxr.errors import InputError
from cxr.figures.page import embedded
from cxr.findings import label
from cxr.wording import in_percent

# What the file is called, wherever it lies.
NAME = "stills.json"

# Where 300 puts its galleries, from the slides.
GALLERIES = "figures/"

OUTCOMES = ("hit", "miss", "false alarm")


@dataclasses.dataclass(frozen=True)
class Still:
    """One film and what a model made of it.

    Attributes:
        outcome: of `OUTCOMES`.
        finding: that the model was asked about.
        score, threshold: probabilities; at or above the threshold the film is flagged.
        boxes: how many are drawn on the film.
        phantom: whether the film itself is a drawing.
        picture: an address that holds it.
    """

    outcome: str
    finding: str
    score: float
    threshold: float
    boxes: int
    phantom: bool
    picture: str

    @property
    def words(self) -> str:
        """What happened to this film."""
        labelled = f"{'not ' * (self.outcome == 'false alarm')}labelled {label(self.finding)}"
        reached = "flagged" if self.score >= self.threshold else "not flagged"
        return (
            f"{labelled}; {in_percent(self.score)} at a threshold of {in_percent(self.threshold)}: "
            f"{reached}"
        )


def write(
    path: Path,
    telling: pd.DataFrame,
    files: Sequence[Path],
    heatmaps: np.ndarray,
    boxes: Sequence[np.ndarray],
    *,
    phantoms: bool,
) -> None:
    """Keep one film of each outcome, one with boxes where there is any.

    Args:
        telling: as `thresholding.outcomes` returns it, with columns finding and threshold.
        files, heatmaps, boxes: of the same films, as `figures.gallery` takes them.
        phantoms: whether the films are drawings.
    """
    kept = []
    for outcome in OUTCOMES:
        places = np.flatnonzero(telling["outcome"] == outcome).tolist()
        if not places:
            continue
        place = max(places, key=lambda at: len(boxes[at]) > 0)
        row, drawn = telling.iloc[place], boxes[place]
        picture = figures.still(files[place], heatmaps[place], drawn)
        still = Still(
            outcome=outcome,
            finding=row["finding"],
            score=round(float(row["score"]), 4),
            threshold=round(float(row["threshold"]), 4),
            boxes=len(drawn),
            phantom=phantoms,
            picture=embedded(picture, "JPEG", quality=80),
        )
        kept.append(dataclasses.asdict(still))
    artifacts.write_json(path, kept)


def read(path: Path | None) -> list[Still]:
    """What `write` kept; nothing where no film was kept.

    Raises:
        InputError: if the file cannot be read.
    """
    if not path or not path.exists():
        return []
    remedy = "remove it, and the slides show no films, or run 300-evaluation again."
    try:
        return [Still(**kept) for kept in artifacts.read_json(path, remedy)]
    except TypeError:
        raise InputError(f"{path} holds something else than films; {remedy}") from None
