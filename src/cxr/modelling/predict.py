"""Films in, honest answers out: a verdict, probabilities, thresholds, and what they mean."""

import concurrent.futures
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from cxr import artifacts
from cxr.config import names_file
from cxr.errors import InputError
from cxr.evaluation import calibration, thresholding
from cxr.films import abstention, reading
from cxr.films.abstention import REFUSED, SCORED, WARNED
from cxr.findings import FINDINGS
from cxr.modelling import explain, exported, inference

WARNING = (
    "Research software, not a medical device. The model learned the labels of one source; NIH's "
    "were text-mined from reports. A probability below every threshold does not mean 'normal'."
)

# Films that are read while others are scored: enough for a step, few enough for the memory.
BATCH = 32

# Longest side of the picture that is kept to be shown, in pixels.
SHOWN = 1024


def choose(runs: Path) -> tuple[str, str]:
    """The finished run with the highest validation AUROC among those that share no patients.

    A run of the split `original` is left out, however well it scores: its validation films
    show patients that it was trained on.

    Returns:
        Its name, and why it was taken.

    Raises:
        InputError: if there is none.
    """
    records = [
        _record(path, "split", "validation_auroc") for path in sorted(runs.glob("*/config.json"))
    ]
    finished = [record for record in records if record["finished"]]
    honest = [record for record in finished if record["split"] != "original"]
    if not honest:
        leaky = f"; {len(finished)} of the split `original` do not count" if finished else ""
        raise InputError(
            f"{runs} holds no finished run that keeps patients apart{leaky}; run 200-modeling, or "
            "name a run with --run."
        )
    best = max(honest, key=lambda record: record["validation_auroc"] or 0)
    left_out = len(finished) - len(honest)
    reached = best["validation_auroc"]
    why = (
        "the first of those that had no validation films"
        if reached is None or np.isnan(reached)
        else f"highest validation AUROC of {len(honest)} run(s), {reached:.3f}"
    )
    if left_out:
        why += f"; {left_out} of the split `original` left out, which shares patients"
    return best["name"], why


def _record(path: Path, *needed: str) -> dict:
    """What a run's config.json says: its name, whether it is finished, and what is needed.

    Raises:
        InputError: if it is missing, or not that of a run.
    """
    record = artifacts.read_json(path)
    if not isinstance(record, dict) or not {"name", "finished", *needed} <= record.keys():
        raise InputError(f"{path} is not what the training wrote; remove that folder.")
    return record


@dataclasses.dataclass(frozen=True, eq=False)
class Answer:
    """What is said of one film.

    Attributes:
        file: as it was given.
        verdict: `SCORED`, `WARNED` or `REFUSED` of `abstention`.
        reasons: why it was refused, or what to beware of; sentences.
        findings: finding, probability (recalibrated where notebook 300 has done so), low and
            high (its 95 % interval: how well its scale is known), threshold (Youden's, on the
            same scale; NaN without one), reached (True, False, or why there is no threshold),
            meaning, and the shares of test films with_it and without_it on this side of the
            threshold, which the meaning rests on; None where refused.
        picture: uint8 (rows, columns), the film to be shown; None where it cannot be read or
            no pictures were asked for.
        heatmaps: float32 (14, rows, columns), 0 to 1, in the order of `FINDINGS`; None as above.
    """

    file: str
    verdict: str
    reasons: tuple[str, ...] = ()
    findings: pd.DataFrame | None = None
    picture: np.ndarray | None = None
    heatmaps: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class _Seen:
    """A film on its way to the network; `square` is None where it was refused."""

    file: str
    reasons: tuple[str, ...]
    square: np.ndarray | None = None
    picture: np.ndarray | None = None


class Model:
    """A run's model, loaded once, with all that its answers rest on.

    Args:
        folder: a run's folder, `runs/<name>`.
        prevalence: finding -> share of films that have it, where flagged films are counted;
            by default that of the test films.

    Attributes:
        name, phantoms, size: of the run; `size` is the side of the films that it sees.
        notes: what a reader must know of every answer, sentences.
        card: its model card, as Markdown; "" without one.

    Raises:
        InputError: if the run cannot be used.
    """

    def __init__(self, folder: Path, prevalence: Mapping[str, float] | None = None):
        run = _record(Path(folder) / "config.json", "phantoms")
        if not run["finished"]:
            raise InputError(f"{folder} is not trained to the end; run 200-modeling again.")
        self.name, self.phantoms = run["name"], bool(run["phantoms"])
        self.network = inference.load_network(Path(folder))
        self.size = self.network.input_shape[1]
        self._forward = inference.forward(self.network)
        self._explainer = explain.Explainer.of_run(self.network, Path(folder))
        self._abstention = abstention.load(Path(folder))
        self.notes = [WARNING]
        if self.phantoms:
            self.notes.append(
                "This model learned synthetic phantoms and knows nothing of real films."
            )
        if self._abstention is None:
            self.notes.append("This run cannot tell films that are unlike those that it knows.")
        if self._explainer is not None:
            self.notes.append(explain.worth(Path(folder)))
        self.card = _card(Path(folder), self.name)
        self._recalibration = None
        if (Path(folder) / "calibration.json").exists():
            self._recalibration = calibration.load(Path(folder))
            self.notes.append(
                "Probabilities are recalibrated, where that helped on validation films."
            )
        else:
            self.notes.append("Probabilities are not recalibrated: run 300-evaluation first.")
        self._cuts = np.full(len(FINDINGS), np.nan)
        self._words = [("", "")] * len(FINDINGS)
        self._rates = np.full((len(FINDINGS), 2, 2), np.nan)
        path = Path(folder) / "thresholds.csv"
        if path.exists():
            cuts = _thresholds(path)
            self._cuts = cuts["threshold"].to_numpy(dtype=float)
            shares = prevalence or {}
            # Below and above: what is said depends on nothing else.
            rows = cuts.to_dict(orient="records")
            self._words = [
                (thresholding.in_words(row, False, share), thresholding.in_words(row, True, share))
                for row, share in zip(rows, map(shares.get, FINDINGS), strict=True)
            ]
            sides = [[thresholding.rates(row, side) for side in (False, True)] for row in rows]
            self._rates = np.array(sides, dtype=float)
            self.notes.append(
                "Thresholds (Youden, from validation films) are for these probabilities."
            )

    def answers(self, files: Sequence[Path], *, pictures: int = 0) -> Iterator[Answer]:
        """Answer for film after film, in order; some are read while others are scored.

        Args:
            files: PNG, JPEG or DICOM. One that cannot be read is answered with the reason.
            pictures: so many answers, from the first, hold pictures and heatmaps.
        """
        groups = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]
        with concurrent.futures.ThreadPoolExecutor() as pool:

            def sent(number: int) -> list[concurrent.futures.Future]:
                shown = [number * BATCH + place < pictures for place in range(BATCH)]
                group = groups[number] if number < len(groups) else []
                return [
                    pool.submit(self._see, str(file), functools.partial(reading.read, file), seen)
                    for file, seen in zip(group, shown, strict=False)
                ]

            coming = sent(0)
            for number in range(len(groups)):
                seen = [job.result() for job in coming]
                coming = sent(number + 1)
                yield from self._answered(seen)

    def answer(self, name: str, content: bytes) -> Answer:
        """Answer for one film that is in memory, with its picture and heatmaps.

        Args:
            name: what the film is called.
            content: of its file. One that cannot be read is answered with the reason.
        """
        seen = self._see(name, functools.partial(reading.decode, content), True)
        return next(self._answered([seen]))

    def _see(self, file: str, read: Callable[[], reading.Film], shown: bool) -> _Seen:
        """Read a film; what is left of it is small."""
        try:
            film = read()
            if self.phantoms and not film.phantom:
                raise InputError(
                    "this model learned synthetic drawings and knows nothing of real films; "
                    "`make run PROFILE=first_archive` trains one that does."
                )
            if film.phantom and not self.phantoms:
                raise InputError("it is a synthetic drawing; this model learned real films.")
            square = film.square(self.size)
        except InputError as error:
            return _Seen(file, (_sentence(str(error)),))
        picture = None
        if shown:
            image = Image.fromarray(film.pixels)
            image.thumbnail((SHOWN, SHOWN), Image.Resampling.BOX)
            picture = np.asarray(image)
        return _Seen(file, film.notes, square, picture)

    def _answered(self, seen: list[_Seen]) -> Iterator[Answer]:
        """Verdicts first; what is refused gets no scores."""
        read = [film.square for film in seen if film.square is not None]
        verdicts = iter(self._judged(np.stack(read)) if read else ())
        rows = iter(self._scored(np.stack(read)) if read else ())
        for film in seen:
            if film.square is None:
                yield Answer(film.file, REFUSED, film.reasons)
                continue
            (verdict, why), scores = next(verdicts), next(rows)
            reasons = film.reasons + why
            if verdict == REFUSED:
                yield Answer(film.file, REFUSED, reasons, picture=film.picture)
                continue
            heatmaps = None
            if film.picture is not None and self._explainer is not None:
                repeated = np.repeat(film.square[None, ..., None], len(FINDINGS), axis=0)
                heatmaps = self._explainer.heatmaps(repeated, np.arange(len(FINDINGS)))
            table = self._table(scores)
            verdict = WARNED if reasons else SCORED
            yield Answer(film.file, verdict, reasons, table, film.picture, heatmaps)

    def _judged(self, squares: np.ndarray) -> list[tuple[str, tuple[str, ...]]]:
        if self._abstention is None:
            return [(SCORED, ())] * len(squares)
        return self._abstention.judge(squares)

    def _scored(self, squares: np.ndarray) -> np.ndarray:
        """Probabilities of the findings, recalibrated, and their bounds: float (films, 3, 14)."""
        scores = pd.DataFrame(self._forward(squares[..., None]), columns=list(FINDINGS))
        if self._recalibration is None:
            unknown = np.full(scores.shape, np.nan)
            return np.stack([scores.to_numpy(dtype=float), unknown, unknown], axis=1)
        low, high = calibration.bounds(scores, self._recalibration)
        scores = calibration.apply(scores, self._recalibration)
        return np.stack([scores.to_numpy(dtype=float), low, high], axis=1)

    def _table(self, scores: np.ndarray) -> pd.DataFrame:
        """The findings of one film, with thresholds and plain words where there are some.

        Args:
            scores: probabilities, and their bounds, (3, 14).
        """
        probabilities, low, high = scores
        reached = probabilities >= self._cuts
        sides = self._rates[np.arange(len(FINDINGS)), reached.astype(int)]
        meanings = []
        for place, cut in enumerate(self._cuts):
            meaning = self._words[place][int(reached[place])]
            if low[place] < cut <= high[place]:
                meaning += (
                    f"; unsure, since the probability's own interval ({100 * low[place]:.2g} to "
                    f"{100 * high[place]:.2g} %) spans the threshold"
                )
            meanings.append(meaning)
        return pd.DataFrame(
            {
                "finding": FINDINGS,
                "probability": probabilities,
                "low": low,
                "high": high,
                "threshold": self._cuts,
                "reached": np.where(np.isnan(self._cuts), "no threshold", reached.astype(object)),
                "meaning": meanings,
                "with_it": sides[:, 0],
                "without_it": sides[:, 1],
            }
        )


def _thresholds(path: Path) -> pd.DataFrame:
    """A run's thresholds of the rule that pages show, and their rates: a row per finding."""
    try:
        rules = pd.read_csv(path)
        shown = rules[rules["rule"] == thresholding.RULES[0]].set_index("finding")
        return shown.reindex(FINDINGS).astype({"threshold": float})
    except (ValueError, KeyError) as error:
        raise InputError(f"{path} does not hold thresholds ({error}); run 300 again.") from None


def _card(folder: Path, name: str) -> str:
    """The model card that an exported run brings along, or that notebook 300 wrote."""
    written = folder.parent.parent / "presentation" / f"model_card_{name}.md"
    for path in (folder / "model_card.md", written):
        if path.is_file():
            return path.read_text(encoding="utf-8", errors="replace")
    return ""


def load(
    run: str | None, runs: Path, prevalence: Mapping[str, float] | None = None
) -> tuple[Model, str]:
    """The model that a run's name means, or that of an exported file; by default the best.

    Returns:
        The model, and why it was taken.
    """
    if run is None:
        name, why = choose(runs)
        return Model(runs / name, prevalence), why
    if names_file(run):
        with exported.opened(Path(run)) as folder:
            try:
                return Model(folder, prevalence), f"from {run}"
            except (InputError, KeyError, TypeError, AttributeError) as error:
                # The folder is gone when this is read; what is at fault is the file.
                why = str(error).replace(f"{folder}/", "").partition(";")[0].rstrip(".")
                raise InputError(
                    f"{run} holds no whole run ({why}); export the run again, where it lies."
                ) from None
    return Model(run_folder(runs, run), prevalence), "named by --run"


def run_folder(runs: Path, name: str) -> Path:
    """The folder of a run.

    Raises:
        InputError: if there is no such run; the message names those that are.
    """
    if not names_file(str(runs / name / "config.json")):
        known = ", ".join(sorted(path.parent.name for path in runs.glob("*/config.json")))
        raise InputError(f"{runs} holds no run '{name}'; it holds {known or 'none yet'}.")
    return runs / name


def _sentence(reason: str) -> str:
    return reason[:1].upper() + reason[1:]
