"""Is this a film that a model may judge? A verdict before any score.

Three questions are asked of a film, all answered by what training films look like:

- Is one of the known faults more likely than none? A linear discriminant tells training films
  from the same films turned, inverted, cut, blurred, framed, over- and underexposed; of the
  last two it is not asked.
- Is it like a chest film at all? The Mahalanobis distance from the training films (Lee et
  al., NeurIPS 2018, there on features of a network).
- Is it exposed like them? A ridge regression estimates the gamma that would have turned a
  usual film into this one, learned from training films that were given a gamma.

All look at pixels: grey values of a 16 x 16 layout, their distribution, and how strong edges
are by grey value and by scale; the discriminant and the regression look at products of the
latter, too. On real films that found more than the same distance on the pooled features of a
network (benchmarks/README.md, "Abstaining").
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge

from cxr import artifacts
from cxr.errors import InputError
from cxr.films import png

SCORED, WARNED, REFUSED = "scored", "scored with a warning", "refused"

FILE = "abstention.npz"

# Sides in pixels of the films that are looked at, the larger where the model sees as much;
# and of their layout.
SIDES, LAYOUT = (64, 128), 16

# Shares of films like those of validation that are warned of, and refused, in vain. Every
# patient counts the same, however many films.
WARNED_IN_VAIN, REFUSED_IN_VAIN = 0.02, 0.005

# How the questions, in the order of `Abstention.questions`, divide these shares. Usual films
# differ most in exposure, so that question gets half of the warnings; and what is unlike any
# chest film is far from all of them. A wrong exposure alone is never refused.
_WARNINGS, _REFUSALS = (0.4, 0.1, 0.5), (0.5, 0.5, 0.0)

# Fewer validation patients would leave such shares to one or two of them.
FEWEST_PATIENTS = 100

# Training films that are looked at.
MOST_FILMS = 4000

# Towards the identity, of the discriminant's and the distance's correlations.
_DISCRIMINANT, _DISTANCE = 0.001, 0.1

# Logarithms of the gammas that training films are given, up and down: 1.8 to 3.5, and their
# inverses. And how much the regression's weights are drawn towards 0.
_GIVEN, _RIDGE = (0.57, 1.27), 100.0


def _cut(film: Image.Image, random: np.random.Generator) -> Image.Image:
    """A quarter of the area, anywhere."""
    half = film.width // 2
    left, top = (int(start) for start in random.integers(0, film.width - half + 1, 2))
    part = film.crop((left, top, left + half, top + half))
    return part.resize(film.size, Image.Resampling.BILINEAR)


def _framed(film: Image.Image, random: np.random.Generator) -> Image.Image:
    """A black border that takes a quarter of the area."""
    side = round(film.width * 0.75**0.5)
    framed, place = Image.new("L", film.size), (film.width - side) // 2
    framed.paste(film.resize((side, side), Image.Resampling.BOX), (place, place))
    return framed


def expose(film: Image.Image, gamma: float) -> Image.Image:
    """The film with every grey value, 0 to 1, raised to a power: above 1 it gets darker."""
    return film.point([round(255 * (grey / 255) ** gamma) for grey in range(256)])


def _exposed(gamma: float) -> Callable:
    return lambda film, random: expose(film, gamma * np.exp(random.uniform(-0.2, 0.2)))


def _turned(*ways: Image.Transpose) -> Callable:
    def turn(film: Image.Image, random: np.random.Generator) -> Image.Image:
        return film.transpose(ways[random.integers(len(ways))])

    return turn


# How training films are spoiled. The first four leave no film to judge; with the others there
# is something to see, so they are no more than warned of.
FAULTS: dict[str, Callable] = {
    "turned on its side": _turned(Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270),
    "upside down": _turned(Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM),
    "inverted, dark for bright": lambda film, random: film.point(lambda grey: 255 - grey),
    "only a part of a film": _cut,
    "blurred": lambda film, random: film.filter(ImageFilter.GaussianBlur(0.03 * film.width)),
    "framed in black": _framed,
    "too bright": _exposed(0.4),
    "too dark": _exposed(2.5),
}
_GRAVE = 4

# The last two are the third question's: the first one asks for any other fault.
_OTHERS = len(FAULTS) - 2


@dataclasses.dataclass(frozen=True, eq=False)
class Abstention:
    """Judges films by what a run's training films look like.

    Attributes:
        centre, scale: of the features, float (features,).
        weights, bias: of the discriminant: (1 + faults, features and products) and
            (1 + faults,); no fault is the first.
        whiten: makes the training films' features uncorrelated: (features, features).
        exposure: of the regression: (features and products + 1,), the constant last.
        limits: (3, 2): from where films are warned of, and refused, by each question.
    """

    centre: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    whiten: np.ndarray
    exposure: np.ndarray
    limits: np.ndarray

    def questions(self, films: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The answers to the three questions.

        Args:
            films: uint8 (films, side, side), of the side that the model sees.

        Returns:
            Log odds of each fault but exposure against none but exposure, float (films,
            faults - 2); distances, float (films,); and the logarithm of the gamma that each
            film seems to have been given, float (films,), above 0 where it is darker than
            usual ones.
        """
        told = (features(films) - self.centre) / self.scale
        products = _with_products(told)
        logits = products @ self.weights.T + self.bias
        none, faults, exposed = np.split(logits, [1, 1 + _OTHERS], axis=1)
        odds = faults - np.c_[none, exposed].max(axis=1, keepdims=True)
        gamma = products @ self.exposure[:-1] + self.exposure[-1]
        return odds, ((told @ self.whiten) ** 2).sum(axis=1), gamma

    def judge(self, films: np.ndarray) -> list[tuple[str, tuple[str, ...]]]:
        """A verdict for each film, and the reasons; films as for `questions`."""
        verdicts = []
        for odds, distance, gamma in zip(*self.questions(films), strict=True):
            fault = int(odds.argmax())
            level = np.array([odds[fault], distance, abs(gamma)])[:, None] >= self.limits
            reasons = []
            grave = fault < _GRAVE and level[0, 1]
            if level[0, 0]:
                reasons.append(f"It {'looks' if grave else 'may be'} {list(FAULTS)[fault]}.")
            if level[1, 0]:
                unlike = "does not look like" if level[1, 1] else "looks unlike most of"
                reasons.append(f"It {unlike} the chest films that the model knows.")
            # The exposure of what is no upright, whole chest film cannot be told.
            if level[2, 0] and not grave:
                reasons.append(f"It may be too {'dark' if gamma > 0 else 'bright'}.")
            refused = level[1, 1] or grave
            verdict = REFUSED if refused else WARNED if reasons else SCORED
            verdicts.append((verdict, tuple(reasons)))
        return verdicts

    def save(self, folder: Path) -> None:
        """Keep it with the run."""
        with artifacts.atomic(Path(folder) / FILE) as temporary, temporary.open("wb") as file:
            arrays = {name: np.asarray(value, np.float32) for name, value in vars(self).items()}
            np.savez(file, allow_pickle=False, **arrays)


def load(folder: Path) -> Abstention | None:
    """Read what `Abstention.save` kept; None for a run that has none.

    Raises:
        InputError: if the file is damaged.
    """
    path = Path(folder) / FILE
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            return Abstention(**{name: kept[name] for name in kept.files})
    except Exception as error:  # NumPy and zipfile raise many kinds
        raise InputError(
            f"{path} cannot be read ({error}); run 200-modeling again: it makes it anew."
        ) from None


def fit(
    train: np.ndarray, validation: np.ndarray, patients: np.ndarray, *, seed: int
) -> tuple[Abstention | None, dict]:
    """Learn what training films look like, and how far films may differ.

    Args:
        train: uint8 (films, side, side), some of them, `MOST_FILMS` or so; of the side that
            the model sees.
        validation: films of other patients; half of these set the limits, the other half
            tells what they are worth.
        patients: of the validation films, (films,).
        seed: decides the halves and how films are spoiled.

    Returns:
        None where `validation` shows fewer than `FEWEST_PATIENTS`. And what it is worth:
        "patients" of the second half, "warned" and "refused" of its films as they are, and
        "found": fault -> share of its films, spoiled, that are warned of or refused.
    """
    random = np.random.default_rng(seed)
    people = random.permutation(np.unique(patients))
    if len(people) < FEWEST_PATIENTS:
        return None, {}
    first = np.isin(patients, people[: len(people) // 2])
    plain = features(train)
    centre, scale = plain.mean(axis=0), plain.std(axis=0) + 1e-3
    told = (plain - centre) / scale

    def looked(films: np.ndarray) -> np.ndarray:
        return _with_products((features(films) - centre) / scale)

    spoiled = [looked(spoil(train, name, random)) for name in FAULTS]
    usual = _with_products(told)
    discriminant = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=_DISCRIMINANT)
    faults = np.repeat(np.arange(1 + len(FAULTS)), len(train))
    discriminant.fit(np.concatenate([usual, *spoiled]), faults)
    del spoiled
    covariance = np.cov(told.T)
    covariance += _DISTANCE * (np.eye(len(covariance)) * np.diag(covariance).mean() - covariance)
    made = Abstention(
        centre,
        scale,
        discriminant.coef_,
        discriminant.intercept_,
        np.linalg.cholesky(np.linalg.inv(covariance)),
        _exposure(train, usual, looked, random),
        np.zeros((3, 2)),
    )
    odds, distance, gamma = made.questions(validation[first])
    answers = np.stack([odds.max(axis=1), distance, abs(gamma)])
    share = _by_patient(patients[first])
    limits = [
        _limits(answers, share, WARNED_IN_VAIN, _WARNINGS),
        _limits(answers, share, REFUSED_IN_VAIN, _REFUSALS),
    ]
    made = dataclasses.replace(made, limits=np.stack(limits, axis=1))
    return made, _worth(made, validation[~first], patients[~first], random)


def _exposure(
    films: np.ndarray, usual: np.ndarray, looked: Callable, random: np.random.Generator
) -> np.ndarray:
    """The regression of a film's log gamma on what is looked at; the constant last.

    Each film is shown as it is, brightened and darkened, by gammas of all sizes: what is
    estimated rises with the strength of the fault.
    """
    seen, given = [usual], [np.zeros(len(films))]
    for sign in (-1, 1):
        gammas = sign * random.uniform(*_GIVEN, len(films))
        pairs = zip(films, np.exp(gammas), strict=True)
        exposed = [np.asarray(expose(Image.fromarray(film), gamma)) for film, gamma in pairs]
        seen.append(looked(np.stack(exposed)))
        given.append(gammas)
    made = Ridge(alpha=_RIDGE).fit(np.concatenate(seen), np.concatenate(given))
    return np.append(made.coef_, made.intercept_)


def spoil(films: np.ndarray, fault: str, random: np.random.Generator) -> np.ndarray:
    """The films, each with a fault of `FAULTS`."""
    return np.stack([np.asarray(FAULTS[fault](Image.fromarray(film), random)) for film in films])


def _worth(
    made: Abstention, films: np.ndarray, patients: np.ndarray, random: np.random.Generator
) -> dict:
    """What the limits do on films that did not set them; see `fit`."""
    share = _by_patient(patients)
    verdicts = np.array([verdict for verdict, _ in made.judge(films)])
    found = {}
    for fault in FAULTS:
        spoiled = [verdict for verdict, _ in made.judge(spoil(films, fault, random))]
        found[fault] = round(float(share @ (np.array(spoiled) != SCORED)), 4)
    return {
        "patients": len(np.unique(patients)),
        "warned": round(float(share @ (verdicts == WARNED)), 4),
        "refused": round(float(share @ (verdicts == REFUSED)), 4),
        "found": found,
    }


def _by_patient(patients: np.ndarray) -> np.ndarray:
    """Weights of films that add up to 1, and to the same for every patient."""
    _, code, films = np.unique(patients, return_inverse=True, return_counts=True)
    return 1 / films[code] / len(films)


def _limits(
    answers: np.ndarray, share: np.ndarray, vain: float, divided: Sequence[float]
) -> np.ndarray:
    """From where films are stopped by each question; by all together as many as stated.

    Args:
        answers: (questions, films).
        share: weights of the films, which add up to 1.
        vain: the share of films that is stopped.
        divided: how the questions divide that share; one with none of it stops no film.
    """
    order = np.argsort(-answers, axis=1)
    beyond = np.empty_like(answers)  # share of films that answer as much, or more
    for row, places in enumerate(order):
        beyond[row, places] = np.cumsum(share[places])
    asked = np.asarray(divided) > 0
    # A film is as rare as the rarest of its answers.
    rarity = (beyond[asked] / np.asarray(divided)[asked, None]).min(axis=0)
    rare = np.argsort(rarity)
    spared = rare[np.cumsum(share[rare]) > vain]
    limits = np.where(asked, answers[:, spared].max(axis=1), np.inf).astype(np.float32)
    return np.nextafter(limits, np.float32(np.inf))


def features(films: np.ndarray, *, together: int = 500) -> np.ndarray:
    """What is looked at: float (films, features).

    Args:
        films: uint8 (films, side, side), of the side that the model sees.
        together: films in memory as numbers at the same time.
    """
    groups = range(0, len(films), together)
    return np.concatenate([_features(films[start : start + together]) for start in groups])


def _features(films: np.ndarray) -> np.ndarray:
    side = max(one for one in SIDES if one <= films.shape[1])
    small = np.stack([np.asarray(png.shrink(Image.fromarray(f), side, side)) for f in films])
    fine = small.astype(np.float32) / 255
    grey = _pooled(fine, side // SIDES[0])
    layout = _pooled(grey, SIDES[0] // LAYOUT)
    layout = layout - layout.mean(axis=(1, 2), keepdims=True)
    layout /= np.maximum(layout.std(axis=(1, 2), keepdims=True), 1 / 255)
    values = grey.reshape(len(grey), -1)
    told = [layout.reshape(len(grey), -1)]
    told.append(np.quantile(values, [0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98], axis=1).T)
    told.append(np.c_[values.mean(axis=1), values.std(axis=1)])
    told.append(np.sqrt(np.c_[(values <= 0.02).mean(axis=1), (values >= 0.98).mean(axis=1)]))
    down, across = np.diff(grey, axis=1)[:, :, :-1], np.diff(grey, axis=2)[:, :-1]
    edges, at = np.hypot(down, across), np.minimum(grey[:, :-1, :-1] * 8, 7).astype(int)
    for level in range(8):
        here = at == level
        count = here.sum(axis=(1, 2))
        # Five pixels with an edge of .02 more: a level that is hardly there says little.
        told.append(np.log(((edges * here).sum(axis=(1, 2)) + 0.1) / (count + 5))[:, None])
        told.append(np.sqrt(count / edges[0].size)[:, None])
    spread = np.maximum(values.std(axis=1), 0.02)
    while fine.shape[1] >= 8:
        for axis in (1, 2):
            strength = np.abs(np.diff(fine, axis=axis)).mean(axis=(1, 2))
            told.append(np.log(strength / spread + 1e-4)[:, None])
        fine = _pooled(fine, 2)
    return np.concatenate(told, axis=1).astype(np.float64)


def _with_products(told: np.ndarray) -> np.ndarray:
    """Scaled features, and the products of each two of those that are no layout."""
    told = told.clip(-6, 6)
    values = told[:, LAYOUT**2 :]
    one, other = np.triu_indices(values.shape[1])
    return np.concatenate([told, values[:, one] * values[:, other]], axis=1)


def _pooled(films: np.ndarray, step: int) -> np.ndarray:
    side = films.shape[1] // step
    return films.reshape(len(films), side, step, side, step).mean(axis=(2, 4))
