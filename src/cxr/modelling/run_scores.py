"""Scores of films: made once per run, read back, and matched with the films' records."""

import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pandas as pd

from cxr import artifacts
from cxr.errors import InputError
from cxr.findings import FINDINGS
from cxr.modelling import inference

# In a run's folder: what chooses thresholds and recalibration, and what is judged.
VALIDATION, TEST = "validation_scores.csv", "test_scores.csv"

# The notebook that writes them.
_NOTEBOOK = {VALIDATION: "200-modeling", TEST: "300-evaluation"}


def score_once(
    folder: Path, frame: pd.DataFrame, score: Callable[..., pd.DataFrame]
) -> pd.DataFrame:
    """Score the test films with a run's model, or read what an earlier call saved.

    The test set is scored once per run: `test_scores.csv` is made with the model and the
    films that `test_scores.json` names, and never with others.

    Args:
        folder: the run's folder, which holds `model.keras`.
        frame: the test films, with `film` and `patient_id`.
        score: makes the scores when called as `score(folder, frame=frame)`.

    Returns:
        `film`, `patient_id` and one probability per finding, rows as in `frame`.

    Raises:
        InputError: if there are no films or no model, or the saved scores are of others.
    """
    path, model = folder / TEST, folder / "model.keras"
    if not model.exists():
        raise InputError(f"{model} does not exist; run 200-modeling first.")
    if frame.empty:
        raise InputError(
            "no test film is present; run 000-data_download again, or set CXR_IMAGES to the "
            "folder that holds them."
        )
    settings = {
        "films": len(frame),
        "film_checksum": artifacts.fingerprint(frame["film"]),
        "model_checksum": artifacts.sha256(model),
    }
    about = path.with_suffix(".json")
    if path.exists():
        remedy = f"Remove {path} to score the test set again."
        if not about.exists():
            raise InputError(f"{about}, which tells what was scored, does not exist. {remedy}")
        artifacts.refuse_other_settings(path, artifacts.read_record(about), settings, remedy)
    else:
        made = score(folder, frame=frame)
        # The sidecar comes first: scores without it would be read as somebody else's.
        artifacts.write_json(about, settings)
        artifacts.write_csv(path, made)
    # Read back also what was just made: the first visit then sees the same digits as others.
    scores = read_scores(path)
    if set(scores["film"]) != set(frame["film"]):
        raise InputError(f"{path} holds scores of other films than {about} says; {_anew(path)}")
    return scores.set_index("film").loc[frame["film"]].reset_index()


def whole(path: Path, films: Iterable[str]) -> bool:
    """Whether a run's scores can be read, and are of these films."""
    try:
        return set(read_scores(path)["film"]) == set(films)
    except InputError:
        return False


def read_scores(path: Path) -> pd.DataFrame:
    """Read a run's scores.

    Args:
        path: `VALIDATION` or `TEST` in the run's folder.

    Returns:
        `film`, `patient_id` and one probability per finding.

    Raises:
        InputError: if the file is missing, cut off, or holds what is not a probability.
    """
    anew = _anew(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; run {_NOTEBOOK[path.name]} first.")
    try:
        text = path.read_text(encoding="utf-8")
        frame = pd.read_csv(io.StringIO(text), dtype={"film": str})
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is not a readable CSV file ({error}); {anew}") from None
    if not text.endswith("\n"):
        raise InputError(f"{path} is cut off in its last line; {anew}")
    columns = ["film", "patient_id", *FINDINGS]
    missing = [column for column in columns if column not in frame]
    if missing:
        raise InputError(f"{path} lacks the column(s) {', '.join(missing)}; {anew}")
    values = frame[list(FINDINGS)].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    if not ((values >= 0) & (values <= 1)).all():
        raise InputError(f"{path} holds scores outside 0 to 1, or empty ones; {anew}")
    if frame["film"].duplicated().any():
        twice = int(frame["film"].duplicated().sum())
        raise InputError(f"{path} holds {twice:,} film(s) twice; {anew}")
    if (films := _films_of(path)) not in (None, len(frame)):
        raise InputError(f"{path} holds {len(frame)} of the {films} films that it is of; {anew}")
    return frame[columns]


def _films_of(path: Path) -> int | None:
    """How many films a run's scores are of; None where nothing tells."""
    if path.name == VALIDATION:
        recorded = path.with_name("config.json").exists()
        return inference.read_record(path.parent).get("validation_films") if recorded else None
    about = path.with_suffix(".json")
    return artifacts.read_record(about).get("films") if about.exists() else None


def _anew(path: Path) -> str:
    """What brings a run's scores back: the model is still there."""
    return f"remove it and run {_NOTEBOOK[path.name]} again: it scores these films anew."


def pair_with_records(
    scores: Mapping[str, pd.DataFrame], records: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Put scores of the same films beside their records, by film name.

    Args:
        scores: run name -> `film` and one column per finding; the same films in each.
        records: `film`, `patient_id`, findings; may hold more films.

    Returns:
        The records of these films, and the scores by run, all with the film names as
        index, in the order of `records`.

    Raises:
        InputError: if a film has no record, or the runs scored different films.
    """
    records = records.set_index("film")
    paired, first = {}, None
    for name, frame in scores.items():
        frame = frame.set_index("film")
        unknown = frame.index.difference(records.index)
        if len(unknown):
            raise InputError(
                f"{len(unknown):,} of {len(frame):,} films that {name} scored are not among "
                f"these, such as {unknown[0]}; the run belongs to another split or other films."
            )
        films = records.index[records.index.isin(frame.index)]
        first = films if first is None else first
        if not films.equals(first):
            raise InputError(
                f"{name} scored {len(films):,} films, another run {len(first):,} films or other "
                "ones; runs are compared on the same films only."
            )
        paired[name] = frame.loc[films, [f for f in FINDINGS if f in frame]]
    return records.loc[first], paired
