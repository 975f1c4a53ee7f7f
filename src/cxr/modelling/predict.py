"""Films in, honest answers out: a verdict, probabilities, thresholds, and what they mean."""

import concurrent.futures
import contextlib
import dataclasses
import functools
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from cxr.modelling import ensemble, explain, exported, inference

WARNING = (
    "Research software, not a medical device. The model learned the labels of one source; NIH's "
    "were text-mined from reports. A probability below every threshold does not mean 'normal'."
)

# Films in a step of the network, unless told otherwise: as many again are read meanwhile, and
# as many are told.
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
    folders = [path.parent for path in sorted(runs.glob("*/config.json"))]
    finished = [
        inference.read_run(folder, "split", "validation_auroc")
        for folder in folders
        if inference.read_run(folder)["finished"]
    ]
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
            threshold, which the meaning rests on; unsure (whether the interval, or the
            probabilities of an ensemble's members, lie on both sides of the threshold; None where
            none of them, or no threshold, is known), and members_low and members_high, the least
            and the most that a member says, NaN without members. None where refused.
        picture: uint8 (rows, columns), the film to be shown; None where it cannot be read or
            no pictures were asked for.
        heatmaps: float32 (14, rows, columns), 0 to 1, in the order of `FINDINGS`; None as above.
        twin: such heatmaps of the untrained twin; None where they were not asked for.
    """

    file: str
    verdict: str
    reasons: tuple[str, ...] = ()
    findings: pd.DataFrame | None = None
    picture: np.ndarray | None = None
    heatmaps: np.ndarray | None = None
    twin: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class _Seen:
    """A film on its way to the network; `square` is None where it cannot be read."""

    file: str
    reasons: tuple[str, ...]
    square: np.ndarray | None = None
    picture: np.ndarray | None = None
    verdict: str = REFUSED


class Model:
    """A run's model, loaded once, with all that its answers rest on.

    Args:
        folder: a run's folder, `runs/<name>`.
        prevalence: finding -> share of films that have it, where flagged films are counted;
            by default that of the test films.

    Attributes:
        name, phantoms, size: of the run; `size` is the side of the films that it sees.
        opened: gives its folder for as long as a block runs.
        notes: what a reader must know of every answer, sentences.
        card: its model card, as Markdown; "" without one.

    Raises:
        InputError: if the run cannot be used.
    """

    def __init__(self, folder: Path, prevalence: Mapping[str, float] | None = None):
        run = inference.read_run(Path(folder), "phantoms")
        if not run["finished"]:
            raise InputError(f"{folder} is not trained to the end; run 200-modeling again.")
        self.name, self.phantoms = run["name"], bool(run["phantoms"])
        self.network = inference.load_network(Path(folder))
        self.size = self.network.input_shape[1]
        self._forward = inference.forward(ensemble.members(self.network))
        # Where its files are found again; an exported run is unpacked anew.
        self.opened: Callable[[], contextlib.AbstractContextManager[Path]] = lambda: (
            contextlib.nullcontext(Path(folder))
        )
        self._explainer = explain.Explainer.of_run(self.network, Path(folder))
        self._twin: explain.Explainer | None = None
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
        else:
            self.notes.append("No threshold is known: run 300-evaluation first.")

    def answers(
        self, files: Sequence[Path], *, pictures: int = 0, batch: int = BATCH
    ) -> Iterator[Answer]:
        """Answer for film after film, in order, by all cores.

        While the network works on some films, the next ones are read and judged, and the ones
        before are told; no more than three batches are in memory.

        Args:
            files: PNG, JPEG or DICOM. One that cannot be read is answered with the reason.
            pictures: so many answers, from the first, hold pictures and heatmaps.
            batch: films in a step of the network.

        Raises:
            InputError: if `batch` is less than 1.
        """
        check_batch(batch)
        cores = os.cpu_count() or 1
        jobs = [
            (str(file), functools.partial(reading.read, file), place < pictures)
            for place, file in enumerate(files)
        ]
        groups = [jobs[start : start + batch] for start in range(0, len(jobs), batch)]
        ended = threading.Event()
        with (
            concurrent.futures.ThreadPoolExecutor(cores) as readers,
            concurrent.futures.ThreadPoolExecutor(1) as network,
        ):

            def sent(number: int) -> list[concurrent.futures.Future]:
                group = groups[number] if number < len(groups) else []
                share = -(-len(group) // cores) or 1
                parts = [group[start : start + share] for start in range(0, len(group), share)]
                wanted = (itertools.takewhile(lambda _: not ended.is_set(), p) for p in parts)
                return [readers.submit(self._look, part) for part in wanted]

            try:
                coming, scored = sent(0), None
                for number in range(len(groups)):
                    seen = [film for part in coming for film in part.result()]
                    coming = sent(number + 1)
                    job = network.submit(self._scored, seen)
                    if scored is not None:
                        yield from self._told(scored[0], scored[1].result())
                    scored = seen, job
                if scored is not None:
                    yield from self._told(scored[0], scored[1].result())
            finally:
                # Who interrupts waits for the films in hand, and for none behind them.
                ended.set()
                for pool in (readers, network):
                    pool.shutdown(wait=False, cancel_futures=True)

    def answer(self, name: str, content: bytes) -> Answer:
        """Answer for one film that is in memory, with its picture and heatmaps.

        Args:
            name: what the film is called.
            content: of its file. One that cannot be read is answered with the reason.
        """
        seen = self._look([(name, functools.partial(reading.decode, content), True)])
        return next(self._told(seen, self._scored(seen)))

    def with_twin(self) -> "Model":
        """Have answers hold the heatmaps of the untrained twin, too.

        The twin is the same network with its weights shuffled: it has learned nothing.

        Raises:
            InputError: for a run that was trained before its twin's average film was kept.
        """
        with self.opened() as folder:
            self._twin = explain.Explainer.twin_of_run(self.network, folder)
        if self._twin is None:
            raise InputError(
                f"the run {self.name} was trained before its untrained twin was kept; train it "
                "again to see both."
            )
        return self

    def _look(self, jobs: Iterable[tuple[str, Callable[[], reading.Film], bool]]) -> list[_Seen]:
        """Read films, and give each its verdict."""
        seen = [self._see(*job) for job in jobs]
        squares = [film.square for film in seen if film.square is not None]
        verdicts = iter(self._judged(np.stack(squares)) if squares else ())
        return [film if film.square is None else _judged(film, *next(verdicts)) for film in seen]

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

    def _told(self, seen: Sequence[_Seen], scores: np.ndarray) -> Iterator[Answer]:
        """Answers, from the scores of what is not refused."""
        rows = iter(scores)
        for film in seen:
            if film.verdict == REFUSED:
                yield Answer(film.file, REFUSED, film.reasons, picture=film.picture)
                continue
            table = self._table(next(rows))
            heatmaps = self._looks(self._explainer, film), self._looks(self._twin, film)
            yield Answer(film.file, film.verdict, film.reasons, table, film.picture, *heatmaps)

    def _looks(self, explainer: explain.Explainer | None, film: _Seen) -> np.ndarray | None:
        """A heatmap per finding of a film that is shown."""
        if film.picture is None or film.square is None or explainer is None:
            return None
        repeated = np.repeat(film.square[None, ..., None], len(FINDINGS), axis=0)
        return explainer.heatmaps(repeated, np.arange(len(FINDINGS)))

    def _judged(self, squares: np.ndarray) -> list[tuple[str, tuple[str, ...]]]:
        if self._abstention is None:
            return [(SCORED, ())] * len(squares)
        return self._abstention.judge(squares)

    def _scored(self, seen: Sequence[_Seen]) -> np.ndarray:
        """Probabilities of what is not refused, recalibrated where that is known.

        Returns:
            float (films, 3 + members, 14): the probabilities, their bounds, and what each
            member of an ensemble says, on the same scale.
        """
        squares = [
            film.square for film in seen if film.square is not None and film.verdict != REFUSED
        ]
        if not squares:
            return np.empty((0, 3, len(FINDINGS)))
        by_member = self._forward(np.stack(squares)[..., None]).astype(float)
        mean = by_member.mean(axis=1)
        low, high = np.full((2, *mean.shape), np.nan)
        members = list(np.moveaxis(by_member, 1, 0)) if by_member.shape[1] > 1 else []
        known = self._recalibration
        if known is not None:
            low, high = calibration.bounds(_frame(mean), known)
            mean, *members = (
                calibration.apply(_frame(one), known).to_numpy(dtype=float)
                for one in (mean, *members)
            )
        return np.stack([mean, low, high, *members], axis=1)

    def _table(self, scores: np.ndarray) -> pd.DataFrame:
        """The findings of one film, with thresholds and plain words where there are some.

        Args:
            scores: probabilities, their bounds, and those of members, (3 + members, 14).
        """
        probabilities, low, high, *members = scores
        reached = probabilities >= self._cuts
        sides = self._rates[np.arange(len(FINDINGS)), reached.astype(int)]
        rows = zip(self._cuts, low, high, scores[3:].T, strict=True)
        doubts = [thresholding.doubt(*row) for row in rows]
        meanings = [
            "; ".join(filter(None, (words[int(side)], doubt)))
            for words, side, doubt in zip(self._words, reached, doubts, strict=True)
        ]
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
                "unsure": [None if doubt is None else bool(doubt) for doubt in doubts],
                "members_low": np.min(members, axis=0) if members else np.nan,
                "members_high": np.max(members, axis=0) if members else np.nan,
            }
        )


def _judged(film: _Seen, verdict: str, why: tuple[str, ...]) -> _Seen:
    """A film with its verdict; what was noted when it was read is a warning, too."""
    reasons = film.reasons + why
    if verdict != REFUSED:
        verdict = WARNED if reasons else SCORED
    return dataclasses.replace(film, verdict=verdict, reasons=reasons)


def _frame(probabilities: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(probabilities, columns=list(FINDINGS))


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
        with _unpacked(run) as folder:
            model = Model(folder, prevalence)
            # What it is unpacked into has a name for the moment.
            model.name = artifacts.read_record(folder / "config.json")["name"]
        model.opened = functools.partial(_unpacked, run)
        return model, f"from {run}"
    return Model(run_folder(runs, run), prevalence), "named by --run"


@contextlib.contextmanager
def _unpacked(run: str) -> Iterator[Path]:
    """A folder with an exported run, for as long as the block runs."""
    with exported.opened(Path(run)) as folder:
        try:
            yield folder
        except (InputError, KeyError, TypeError, AttributeError) as error:
            # The folder is gone when this is read; what is at fault is the file.
            why = str(error).replace(f"{folder}/", "").partition(";")[0].rstrip(".")
            raise InputError(
                f"{run} holds no whole run ({why}); export the run again, where it lies."
            ) from None


def check_batch(films: int) -> None:
    """Raise an InputError where a step of the network would take no film."""
    if films < 1:
        raise InputError(f"a batch of {films} films is none; give 1 or more.")


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
