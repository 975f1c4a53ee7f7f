"""Which films get no scores, and what stretching to a square costs: on real films.

Fits the limits of `cxr.films.abstention` as training does, on real films of 128 px from the
folder SHARED_DIR (../shared by default): training films of the split `patient`, limits from
half of the validation patients, what is printed from the other half, its unselected block only
(patients 1336 to 3923). Skips where the folder is absent.

    python benchmarks/abstention.py               # three minutes on two cores
    python benchmarks/abstention.py RUN_FOLDER    # beside a network's features; and padding
"""

import os
import string
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from sklearn.datasets import load_sample_images
from sklearn.metrics import roc_auc_score

from cxr.config import PROJECT
from cxr.evaluation import intervals, ranking
from cxr.films import abstention, dicom, film_cache
from cxr.findings import FINDINGS
from cxr.records import nih, splits

SEED, SIDE = 42, 128
BLOCK = (1336, 3923)


def each(change: Callable[[Image.Image], Image.Image]) -> Callable:
    """What is done to every film: (films, side, side) in and out."""
    return lambda films, random: np.stack([np.asarray(change(Image.fromarray(f))) for f in films])


def exposed(gamma: float) -> Callable:
    return each(lambda film: abstention.expose(film, gamma))


def quartered(films: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return abstention.spoil(films, "only a part of a film", random)


def framed(films: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return abstention.spoil(films, "framed in black", random)


# Exactly these faults are asked about; the fit draws its exposures around them.
FAULTS = {
    "rotated by 90 degrees": each(lambda film: film.transpose(Image.Transpose.ROTATE_90)),
    "rotated by 180 degrees": each(lambda film: film.transpose(Image.Transpose.ROTATE_180)),
    "mirrored top to bottom": each(lambda film: film.transpose(Image.Transpose.FLIP_TOP_BOTTOM)),
    "inverted": each(lambda film: film.point(lambda grey: 255 - grey)),
    "cropped to a quarter": quartered,
    "blurred, 3 % of the side": each(
        lambda film: film.filter(ImageFilter.GaussianBlur(0.03 * film.width))
    ),
    "overexposed, gamma 0.4": exposed(0.4),
    "underexposed, gamma 2.5": exposed(2.5),
    "black border, a quarter": framed,
    "mirrored left to right": each(lambda film: film.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
}


def pages(count: int, random: np.random.Generator) -> np.ndarray:
    """Pages of text."""
    drawn = []
    for _ in range(count):
        page = Image.new("L", (2 * SIDE, 2 * SIDE), int(random.integers(225, 256)))
        font = ImageFont.load_default(int(random.integers(9, 22)))
        for top in np.arange(random.integers(0, 30), 2 * SIDE - 10, 1.3 * font.size):
            letters = list(string.ascii_lowercase + "    ")
            line = "".join(random.choice(letters, 60))
            ink = int(random.integers(0, 60))
            ImageDraw.Draw(page).text((int(random.integers(4, 40)), top), line, ink, font)
        drawn.append(np.asarray(page.resize((SIDE, SIDE), Image.Resampling.BOX)))
    return np.stack(drawn)


def photographs(count: int, random: np.random.Generator) -> np.ndarray:
    """Parts of the two photographs of scikit-learn, in grey."""
    whole = [Image.fromarray(picture).convert("L") for picture in load_sample_images().images]
    parts = []
    for number in range(count):
        picture, side = whole[number % 2], int(random.integers(200, 427))
        left = int(random.integers(0, picture.width - side + 1))
        top = int(random.integers(0, picture.height - side + 1))
        part = picture.crop((left, top, left + side, top + side))
        parts.append(np.asarray(part.resize((SIDE, SIDE), Image.Resampling.BOX)))
    return np.stack(parts)


def others() -> dict[str, np.ndarray]:
    """Pictures of pydicom-data whose headers would refuse them, as if they were exported films."""
    import data_store

    folder = Path(data_store.__file__).parent / "data"
    dicom._accepted = lambda header: []  # the pixels alone shall tell
    pictures = {"a leg": "RG3_UNCR", "a CT slice": "693_UNCR", "an MR slice": "MR2_UNCR"}
    pictures["a chest film of another maker"] = "RG1_UNCR"
    squares = {}
    for words, name in pictures.items():
        pixels, _ = dicom.decode((folder / f"{name}.dcm").read_bytes())
        squares[words] = np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), 4))[None]
    return squares


def distance(train: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The Mahalanobis distance from features of training films, as `abstention` computes it."""
    centre, scale = train.mean(axis=0), train.std(axis=0) + 1e-3
    covariance = np.cov(((train - centre) / scale).T)
    covariance = 0.9 * covariance + 0.1 * np.diag(covariance).mean() * np.eye(len(covariance))
    whiten = np.linalg.cholesky(np.linalg.inv(covariance))
    return lambda told: ((((told - centre) / scale) @ whiten) ** 2).sum(axis=1)


def pooled(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Pooled features of a run's network: what its last layers see."""
    from cxr.modelling import inference
    from cxr.modelling.tensors import keras, tf

    network = inference.load_network(folder)
    flat = [layer for layer in network.layers if len(layer.output.shape) == 2]
    forward = inference.forward(keras.Model(network.inputs, flat[0].output))

    def features(films: np.ndarray) -> np.ndarray:
        starts = range(0, len(films), 128)
        parts = [forward(tf.constant(films[at : at + 128, ..., None])).numpy() for at in starts]
        return np.concatenate(parts).astype(np.float64)

    return features


def padded(film: np.ndarray, width: int, height: int) -> np.ndarray:
    """A film of NIH's, which were stretched to a square, in its own shape on black."""
    longest = max(width, height)
    size = round(SIDE * width / longest), round(SIDE * height / longest)
    square = Image.new("L", (SIDE, SIDE))
    square.paste(
        Image.fromarray(film).resize(size, Image.Resampling.BOX),
        ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2),
    )
    return np.asarray(square)


def shape_cost(folder: Path, films: np.ndarray, records: pd.DataFrame) -> None:
    """AUROC of the same films, stretched as in training and padded to their own shape."""
    from cxr.modelling import inference
    from cxr.modelling.tensors import tf

    forward = inference.forward(inference.load_network(folder))
    own = np.stack(
        [
            padded(film, row.width, row.height)
            for film, row in zip(films, records.itertuples(), strict=True)
        ]
    )
    print(f"\nThe same {len(films):,} films, by {folder.name}:")
    for words, pictures in (("stretched to a square, as NIH did", films), ("padded", own)):
        starts = range(0, len(films), 128)
        scores = np.concatenate(
            [forward(tf.constant(pictures[s : s + 128, ..., None])).numpy() for s in starts]
        )
        by_finding = ranking.auroc(records[list(FINDINGS)].to_numpy(), scores)
        print(f"  {words:<34} mean AUROC {np.nanmean(by_finding):.3f}")


def exposures(made: abstention.Abstention, films: np.ndarray) -> None:
    """How far usual films differ in exposure themselves: what no limit can tell apart."""
    usual = made.questions(films)[2]
    low, high = np.exp(np.quantile(usual, [0.025, 0.975]))
    print(f"\n95 % of usual films look like another one with gamma {low:.2f} to {high:.2f}.")
    print("| gamma | seems to be, median | found at the limit | usual films that seem as far |")
    print("| --: | --: | --: | --: |")
    for gamma in (0.3, 0.4, 0.5, 0.6, 0.7, 1.5, 1.8, 2.0, 2.5, 3.0):
        sign = 1 if gamma > 1 else -1
        seems = sign * made.questions(exposed(gamma)(films, None))[2]
        found = (seems >= made.limits[2, 0]).mean()
        as_far = (sign * usual >= np.quantile(seems, 0.05)).mean()
        typical = np.exp(sign * np.median(seems))
        print(f"| {gamma} | {typical:.2f} | {100 * found:.1f} % | {100 * as_far:.1f} % |")
    print("The last column: usual films beyond what 95 % of the spoiled ones reach.")


def told(name: str, verdicts: np.ndarray, codes: np.ndarray | None) -> str:
    """Shares that are stopped, with a 95 % interval by patient, and refused."""
    stopped = (verdicts != abstention.SCORED)[:, None]
    share = f"{100 * stopped.mean():.1f} %"
    if codes is not None:
        _, low, high = (v[0] for v in intervals.rates(stopped, np.ones_like(stopped), codes))
        share += f" ({100 * low:.1f} to {100 * high:.1f})"
    refused = (verdicts == abstention.REFUSED).mean()
    return f"| {name} | {len(verdicts):,} | {share} | {100 * refused:.1f} % |"


def main() -> int:
    shared = Path(os.environ.get("SHARED_DIR", PROJECT.parent / "shared")) / "nih"
    if not shared.is_dir():
        print(f"skipped: {shared} does not hold the real films; set SHARED_DIR.")
        return 0
    records, _ = nih.read_records(shared / "Data_Entry_2017_v2020.csv")
    part = splits.make_split(records, "patient", seed=SEED)
    paths = {path.name: path for path in (shared / "images128").glob("*.png")}
    records = records.loc[part.index].assign(split=part)
    records = records[records["film"].isin(paths)]
    train, validation = (records[records["split"] == s] for s in ("train", "validation"))
    random = np.random.default_rng(SEED)
    some = random.permutation(train["film"])[: abstention.MOST_FILMS]
    seen, shown = (
        np.stack([film_cache.read_film(paths[film], SIDE) for film in films])
        for films in (some, validation["film"])
    )
    patients = validation["patient_id"].to_numpy()
    made, _ = abstention.fit(seen, shown, patients, seed=SEED)
    # As `fit` divides them: the second half set no limit.
    people = np.random.default_rng(SEED).permutation(np.unique(patients))
    second = ~np.isin(patients, people[: len(people) // 2])
    kept = second & validation["patient_id"].between(*BLOCK).to_numpy()
    films, codes = shown[kept], np.unique(patients[kept], return_inverse=True)[1]
    print(f"{len(films):,} films of {codes.max() + 1} patients that set no limit, SEED {SEED}\n")
    columns = "AUROC faults | unlike | exposure | network"
    print(f"| films | number | warned of or refused | refused | {columns} |")
    print("| --- | --: | --- | --: | --: | --: | --: | --: |")
    network = None
    if len(sys.argv) > 1:
        look = pooled(Path(sys.argv[1]))
        away = distance(look(seen))
        network = lambda pictures: away(look(pictures))  # noqa: E731

    def answered(pictures: np.ndarray) -> list[np.ndarray | None]:
        odds, away, gamma = made.questions(pictures)
        return [odds.max(axis=1), away, abs(gamma), network(pictures) if network else None]

    usual = answered(films)

    def line(name: str, pictures: np.ndarray, codes: np.ndarray | None) -> None:
        verdicts = np.array([verdict for verdict, _ in made.judge(pictures)])
        cells = []
        for known, new in zip(usual, answered(pictures), strict=True):
            if known is None or new is None:
                cells.append("")
                continue
            labels = np.r_[np.zeros(len(known)), np.ones(len(new))]
            cells.append(f"{roc_auc_score(labels, np.r_[known, new]):.3f}")
        print(told(name, verdicts, codes), " | ".join(cells), "|", flush=True)

    line("as they are", films, codes)
    for name, change in FAULTS.items():
        line(name, change(films, np.random.default_rng(1)), codes)
    noise = np.random.default_rng(2).integers(0, 256, (200, SIDE, SIDE), np.uint8)
    unseen = {
        "noise": noise,
        "pages of text": pages(200, np.random.default_rng(3)),
        "photographs": photographs(200, np.random.default_rng(4)),
    } | others()
    for name, pictures in unseen.items():
        line(name, pictures, None)
    exposures(made, films)
    if len(sys.argv) > 1:
        shape_cost(Path(sys.argv[1]), films, validation[kept])
    return 0


if __name__ == "__main__":
    sys.exit(main())
