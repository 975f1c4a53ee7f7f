"""A run's scores of films as another hospital ships them."""

import concurrent.futures
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from cxr import progress
from cxr.errors import InputError
from cxr.evaluation import calibration, external
from cxr.films import reading
from cxr.findings import FINDINGS
from cxr.modelling import inference, run_scores
from cxr.records import sources


def score(folder: Path, paths: Mapping[str, Path]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Score films straight from their files, PNG, JPEG or DICOM.

    Args:
        folder: the run's folder.
        paths: film name -> file.

    Returns:
        scores: one probability per finding, recalibrated as the run shows them where
            notebook 300 has done so; film names as index, in the order of `paths`.
        refused: film -> why it could not be read; it is not in the scores.

    Raises:
        InputError: if the run is unfinished, no film can be read, or drawings meet real films.
    """
    record = inference.read_run(folder, "phantoms")
    if not record["finished"]:
        raise InputError(f"{folder} is not trained to the end; run 200-modeling again.")
    network, drawn = inference.load_network(folder), bool(record["phantoms"])
    side, forward = network.input_shape[1], inference.forward(network)

    def read(path: Path) -> np.ndarray | str:
        try:
            film = reading.read(path)
            if film.phantom != drawn:
                raise _Mixed
            return film.square(side)
        except InputError as error:
            return str(error)

    films, rows = list(paths), []
    scored: list[str] = []
    refused: dict[str, str] = {}
    with (
        progress.Bars() as bars,
        # Threads suffice: Pillow lets go of the interpreter while it decodes.
        concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        bar = bars.add("scoring films", total=len(films), unit="films")
        for start in range(0, len(films), inference.BATCH):
            batch = films[start : start + inference.BATCH]
            try:
                read_films = list(pool.map(read, (paths[film] for film in batch)))
            except _Mixed:
                raise InputError(
                    f"the run {folder.name} learned {'drawings' if drawn else 'real films'}, and "
                    f"these are {'real films' if drawn else 'drawings'}; neither says anything "
                    "of the other."
                ) from None
            seen = dict(zip(batch, read_films, strict=True))
            refused |= {film: got for film, got in seen.items() if isinstance(got, str)}
            squares = {film: got for film, got in seen.items() if not isinstance(got, str)}
            if squares:
                rows.append(forward(np.stack(list(squares.values()))[..., None]))
                scored += squares
            bar.advance(len(batch))
    if not rows:
        first = next(iter(refused.items()), ("", "there is none"))
        raise InputError(f"none of the {len(films):,} films can be read ({first[0]}: {first[1]}).")
    scores = pd.DataFrame(np.concatenate(rows), index=pd.Index(scored, name="film"))
    scores = scores.set_axis(list(FINDINGS), axis=1).astype("float64")
    if (folder / "calibration.json").exists():
        scores = calibration.apply(scores, calibration.load(folder))
    return scores, refused


def refuse_learned(
    records: pd.DataFrame, paths: Mapping[str, Path], data: Path, folder: Path
) -> None:
    """Refuse films that a run may have learned from, before they are scored.

    Args:
        records: of the films to be scored, as `sources.read` returns them.
        paths: film -> file.
        data: the project's data folder, whose `records.csv` says what the run had.
        folder: the run's, whose validation scores name at least some of them where `data`
            is not here.

    Raises:
        InputError: if any is one of the run's own.
    """
    images = None
    if (own := data / "records.csv").exists():
        known = sources.load(own)[0]
        images = data / "images" if "file" in known else None
    elif (own := folder / "validation_scores.csv").exists():
        known = run_scores.read_scores(own)
    else:
        return
    refuse_own(external.own_films(records, known), paths, images)


def refuse_own(
    own: Mapping[str, str], paths: Mapping[str, Path], images: Path | None = None
) -> None:
    """Refuse a run's own films, before they are scored.

    Args:
        own: film -> the run's film that it may be, as `external.own_films` returns it.
        paths: film -> file.
        images: where notebook 000 stored the run's own films: only the same picture is the
            same film. None where the name alone decides.

    Raises:
        InputError: if any is one of the run's own.
    """
    for film in own.keys() & paths.keys():
        if images is None or _same_picture(paths[film], images / own[film]):
            raise InputError(
                f"{paths[film]} is one of the run's own films, {own[film]}, so it may have "
                "learned from it; judge the run by films of another hospital."
            )


def _same_picture(path: Path, stored: Path) -> bool:
    """Whether a stored film was made from this file."""
    if not stored.exists():
        return False
    try:
        kept = reading.read(stored).pixels
        return np.array_equal(reading.read(path).square(kept.shape[0]), kept)
    except InputError:
        return False


class _Mixed(Exception):
    """A drawing where a real film was wanted, or the other way round."""
