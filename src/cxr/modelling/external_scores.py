"""A run's scores of films as another hospital ships them."""

import concurrent.futures
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from cxr import artifacts, progress
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


def shown_by(folder: Path) -> str:
    """A checksum of what makes a run's scores as they are shown: its model and recalibration."""
    parts = [folder / "model.keras", folder / "calibration.json"]
    return artifacts.fingerprint(artifacts.sha256(path) for path in parts if path.exists())


def refuse_learned(
    records: pd.DataFrame, paths: Mapping[str, Path], data: Path, folder: Path
) -> str:
    """Refuse films that a run may have learned from, before they are scored.

    NIH's films are known by their names, which no other hospital gives; those of other
    sources by their pictures as notebook 000 stored them, whatever tables and files are
    called. A picture that was encoded anew with losses is another one.

    Args:
        records: of the films to be scored, as `sources.read` returns them.
        paths: film -> file.
        data: the project's data folder, whose `records.csv` says what the run had.
        folder: the run's, whose validation scores name some of its films where `data` is
            not here.

    Returns:
        A sentence about what could not be compared, or "".

    Raises:
        InputError: if any is one of the run's own.
    """
    run = inference.read_run(folder)
    known = _learned(run, data)
    if run.get("config", {}).get("source", "nih") == "nih":
        remark = ""
        if known is None:
            kept = folder / "validation_scores.csv"
            known = run_scores.read_scores(kept) if kept.exists() else pd.DataFrame({"film": []})
            remark = _UNCOMPARED.format("names", len(known))
        named = external.own_films(records, known)
        for film in named.keys() & paths.keys():
            _refuse(paths[film], named[film])
        return remark
    films = [] if known is None else known["film"]
    stored = {film: path for film in films if (path := data / "images" / film).exists()}
    compared = _refuse_pictures(stored, paths)
    return "" if 0 < compared == len(films) else _UNCOMPARED.format("pictures", compared)


def _learned(run: dict, data: Path) -> pd.DataFrame | None:
    """The records of `data`, where they are of the source and of the table of this run."""
    if not (data / "records.csv").exists():
        return None
    records, manifest = sources.load(data / "records.csv")[0], data / "manifest.json"
    if ("file" in records) == (run.get("config", {}).get("source", "nih") == "nih"):
        return None
    settings = artifacts.read_json(manifest).get("settings", {}) if manifest.exists() else {}
    return records if settings.get("records") in (None, "NIH", run.get("table")) else None


_UNCOMPARED = (
    "The {} of {:,} of the run's own films are here; that none of these films is one of the others "
    "is for you to make sure."
)


def _refuse(path: Path, own: str) -> None:
    raise InputError(
        f"{path} is one of the run's own films, {own}, so it may have learned from it; judge the "
        "run by films of another hospital."
    )


def _refuse_pictures(stored: Mapping[str, Path], paths: Mapping[str, Path]) -> int:
    """Refuse files of which a run's own pictures were made; how many of these can be read."""
    if not stored:
        return 0
    with (
        progress.Bars() as bars,
        concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        bar = bars.add("comparing films", total=len(stored) + len(paths), unit="films")
        own: dict[bytes, str] = {}
        compared = side = 0
        for film, (digest, rows) in zip(stored, pool.map(_digest, stored.values()), strict=True):
            bar.advance()
            if digest:
                own[digest] = film
                compared, side = compared + 1, max(side, rows)
        for path, (digest, _) in zip(
            paths.values(), pool.map(lambda path: _digest(path, side), paths.values()), strict=True
        ):
            bar.advance()
            if digest in own:
                _refuse(path, own[digest])
    return compared


def _digest(path: Path, most: int = 0) -> tuple[bytes, int]:
    """A picture's SHA-256 and its side, as a square of at most `most` pixels; b"" for none.

    Films are stored as squares of one side, or of their own where they are smaller.
    """
    try:
        film = reading.read(path)
        pixels = film.square(min(most, *film.pixels.shape)) if most else film.pixels
    except InputError:
        return b"", 0
    side = pixels.shape[0]
    return hashlib.sha256(side.to_bytes(4) + np.ascontiguousarray(pixels).data).digest(), side


class _Mixed(Exception):
    """A drawing where a real film was wanted, or the other way round."""
