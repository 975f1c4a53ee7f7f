"""Do heatmaps find what radiologists drew a box around, on real films of 128 px?

    python benchmarks/accuracy/heatmaps.py            # as `make accuracy` trains it
    python benchmarks/accuracy/heatmaps.py seed43     # the same with another seed, maps only
    python benchmarks/accuracy/heatmaps.py frozen     # ImageNet's features, only the head learned

All with the split of `make accuracy`, disjoint by patient. Explained is the score that
notebook 300 explains: of Pneumonia, Consolidation, Infiltration and Edema the one that the
network scores highest on the film. All is chosen on RSNA's boxes of training patients: the
map, its layer and the size to which films are enlarged; the penalties of what learns from
boxes, by three folds of training patients. Then the boxes of the unselected block's
validation and test patients are asked, once.

Features and tables go to `runs/heatmaps/`, what is quoted to `benchmarks/accuracy/results/`.
Start it with `nice -n 10` and OMP_NUM_THREADS=1, TF_NUM_INTRAOP_THREADS=1 beside other work.
"""

import functools
import os
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import real_films
from scipy import special

from cxr import artifacts
from cxr.config import PROJECT, Config, load_config
from cxr.evaluation import localisation, ranking
from cxr.evaluation.comparison import between
from cxr.fetch import download
from cxr.findings import FINDINGS
from cxr.modelling import explain, inference, locating, models
from cxr.modelling.tensors import keras, tf
from cxr.publish import notebooks
from cxr.records import rsna, split_files

MODEL, SEED, FOLDS = "mobilenet_small", 42, 3
RESULTS = Path(__file__).parent / "results"
RUNS = PROJECT / "runs" / "heatmaps"
COMMAND = "python benchmarks/accuracy/heatmaps.py"

# Sides to which films are enlarged, and the layers that a map is read at: maps of an eighth,
# a sixteenth and a thirty-second of the side.
SIDES, STRIDES = (192, 320), (8, 16, 32)

# What knows nothing of the film; the first one is what every map has to beat.
BASELINES = ("most covered point of training boxes", "mean box", "centre")
FIXED = "most covered point of other patients' boxes"

# Of the logistic regression, see `locating.PENALTY`.
PENALTIES = (300.0, 3_000.0, 30_000.0)

# Tables on which something was chosen, and those that report.
CHOOSING = ("chosen", "located", "joint")
REPORTING = ("found", "control", "headed", "ranked")

# Whose tables are kept, and which.
NETWORKS = {
    "default": (*CHOOSING, *REPORTING),
    "seed43": ("chosen", "found"),
    "seed44": ("chosen", "found"),
    "frozen": (*CHOOSING, *REPORTING),
}

# The fifteenth map of a head that learns from boxes: RSNA's Lung Opacity.
OPACITY = len(FINDINGS)


# ---- maps after the fact ----------------------------------------------------------


def grad_cam_plus_plus(features, gradient, average):
    """Chattopadhay et al., WACV 2018: gradients weighed by how alone they stand."""
    total = features.sum(axis=(1, 2), keepdims=True)
    below = 2 * gradient**2 + total * gradient**3
    alone = np.divide(gradient**2, below, out=np.zeros_like(gradient), where=below != 0)
    weight = (alone * np.maximum(gradient, 0)).sum(axis=(1, 2), keepdims=True)
    return np.maximum((weight * features).sum(axis=3), 0)


def hires_cam(features, gradient, average):
    """Draelos and Carin 2020: each cell weighed by its own gradient."""
    return np.maximum((gradient * features).sum(axis=3), 0)


def layer_cam(features, gradient, average):
    """Jiang et al., TIP 2021: as HiResCAM, but each product that speaks against counts 0."""
    return (np.maximum(gradient, 0) * features).sum(axis=3).clip(0)


METHODS = explain.METHODS | {
    "grad_cam_plus_plus": grad_cam_plus_plus,
    "hires_cam": hires_cam,
    "layer_cam": layer_cam,
}


def occlusion(network: keras.Model, pictures: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """How much the logit falls where a quarter of the side is grey, at 7 x 7 places."""
    run, side = inference.forward(network), pictures.shape[1]

    def logits(films: np.ndarray) -> np.ndarray:
        scores = np.concatenate([run(films[s : s + 32]) for s in range(0, len(films), 32)])
        return special.logit(scores[np.arange(len(films)), columns].clip(1e-7, 1 - 1e-7))

    whole, starts = logits(pictures), np.arange(7) * side // 8
    maps = np.zeros((len(pictures), 7, 7), np.float32)
    grey = pictures.mean(axis=(1, 2, 3), keepdims=True).astype(np.uint8)
    for i, top in enumerate(starts):
        for j, left in enumerate(starts):
            hidden = pictures.copy()
            hidden[:, top : top + side // 4, left : left + side // 4] = grey
            maps[:, i, j] = whole - logits(hidden)
    # The outermost places are an eighth from the border, where nothing was asked.
    return np.pad(maps, ((0, 0), (1, 1), (1, 1))).clip(0)


def enlarged(network: keras.Model, side: int) -> keras.Model:
    """The same weights for films enlarged to another side: they pool over what they see."""
    other = models.registered(network.name).build(network.input_shape[1], None, side)
    other.set_weights(network.get_weights())
    return other


# What pages show of such a network: `explain.FEWEST_ROWS`.
PAGES = f"evidence, 12 x 12, {SIDES[0]} px"
OCCLUSION = f"occlusion, 7 x 7, {SIDES[0]} px"


def maps_after_the_fact(
    network: keras.Model,
    pictures: np.ndarray,
    columns: np.ndarray,
    reference: np.ndarray,
    only: Collection[str] = (),
) -> Iterator[tuple[str, np.ndarray]]:
    """Maps of some films: "method, cells, side", and float (films, rows, columns).

    Args:
        pictures, columns: as for `explain.Explainer.heatmaps`.
        reference: films whose mean stands for the average film.
        only: the names that are wanted; by default all.
    """
    for side in SIDES:
        larger = network if side == SIDES[0] else enlarged(network, side)
        for stride in STRIDES:
            rows = side // stride
            named = {f"{name}, {rows} x {rows}, {side} px": name for name in METHODS}
            if only and not set(named) & set(only):
                continue
            explainer = explain.Explainer(larger, reference, rows=rows)
            batches = list(explainer._batches(pictures, columns))
            for name, method in named.items():
                if not only or name in only:
                    maps = [METHODS[method](*batch, explainer._average) for batch in batches]
                    yield name, np.concatenate(maps)
    if not only or OCCLUSION in only:
        yield OCCLUSION, occlusion(network, pictures, columns)


# ---- what learns from boxes -------------------------------------------------------


# How cells become a film, and the logit that a cell starts from.
POOLS = {"noisy-or": -8.0, "soft maximum": -4.0, "mean": -3.0}


class Head(keras.Model):
    """A logit for each cell and each of 15 findings, pooled to one a film.

    With "noisy-or" (Li et al., CVPR 2018) a film has what any of its cells has; "soft maximum"
    takes the logarithm of the mean exponential (Pinheiro and Collobert, CVPR 2015); "mean" is
    what global pooling does.
    """

    def __init__(self, pool: str, told: np.ndarray):
        super().__init__()
        self.pool, grid = pool, told.shape[1:3]
        some = told[:: max(1, len(told) // 500)].astype(np.float32)
        self.mean, self.spread = some.mean(axis=(0, 1, 2)), some.std(axis=(0, 1, 2)) + 1e-3
        self.drop = keras.layers.SpatialDropout2D(0.3)
        self.cells = keras.layers.Dense(
            OPACITY + 1,
            kernel_initializer="zeros",
            bias_initializer=keras.initializers.Constant(POOLS[pool]),
        )
        self.place = self.add_weight(shape=(*grid, OPACITY + 1), initializer="zeros")

    def call(self, features, training=False):
        features = self.drop((features - self.mean) / self.spread, training=training)
        return self.cells(features) + self.place

    def pooled(self, logits):
        ops = keras.ops
        cells = logits.shape[1] * logits.shape[2]
        logits = ops.reshape(logits, (-1, cells, OPACITY + 1))
        if self.pool == "mean":
            return ops.mean(logits, axis=1)
        if self.pool == "soft maximum":
            return ops.logsumexp(logits, axis=1) - float(np.log(cells))
        # The logarithm of the probability that no cell has it.
        none = ops.minimum(-ops.sum(ops.softplus(logits), axis=1), -1e-6)
        return ops.log(-ops.expm1(none)) - none


def taught(pool: str, told, labels, covered, read, *, epochs: int = 6, boxes: bool = True) -> Head:
    """A head that learns labels everywhere, and cells where radiologists read the film.

    Args:
        told: float16 (films, rows, columns, channels), features of the films.
        labels: 0/1 (films, 14).
        covered: 0 to 1 (films, rows, columns), the share of each cell in boxes.
        read: 0/1 (films,), whether radiologists read the film.
        boxes: whether they teach at all.
    """
    keras.utils.set_random_seed(SEED)
    head = Head(pool, told)
    head(told[:1].astype(np.float32))
    steps = -(-len(told) // 64) * epochs
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=1e-3)
    optimizer.build(head.trainable_variables)

    def entropy(logits, target):
        return tf.nn.softplus(logits) - target * logits

    shapes = (told.shape[1:], labels.shape[1:], covered.shape[1:], ())
    signature = [tf.TensorSpec((None, *shape)) for shape in shapes]

    @tf.function(input_signature=signature)
    def step(features, label, cover, known):
        with tf.GradientTape() as tape:
            logits = head(features, training=True)
            films = head.pooled(logits)
            loss = tf.reduce_mean(entropy(films[:, :OPACITY], label))
            if boxes:
                weight = known / tf.maximum(tf.reduce_sum(known), 1)
                cells = tf.reduce_mean(entropy(logits[..., OPACITY], cover), axis=(1, 2))
                some = tf.cast(tf.reduce_any(cover > 0, axis=(1, 2)), tf.float32)
                film = entropy(films[:, OPACITY], some)
                loss += tf.reduce_sum(weight * (cells + 0.1 * film))
        slopes = tape.gradient(loss, head.trainable_variables)
        optimizer.apply_gradients(zip(slopes, head.trainable_variables, strict=True))

    random = np.random.default_rng(SEED)
    for _ in range(epochs):
        order = random.permutation(len(told))
        for start in range(0, len(told), 64):
            some = order[start : start + 64]
            step(*(tf.constant(part[some], tf.float32) for part in (told, labels, covered, read)))
    return head


def answered(head: Head, told: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of 14 findings (films, 14), and the map of opacities, 0 to 1."""
    logits = [
        head(told[start : start + 256].astype(np.float32)) for start in range(0, len(told), 256)
    ]
    films = np.concatenate([head.pooled(part).numpy() for part in logits])
    maps = np.concatenate([part.numpy()[..., OPACITY] for part in logits])
    return special.expit(films[:, :OPACITY]), special.expit(maps)


# ---- films and networks -----------------------------------------------------------


def shared_folder() -> Path:
    return Path(os.environ.get("SHARED_DIR", PROJECT.parent / "shared"))


def seed_of(name: str) -> int:
    """What a network was trained with."""
    return int(name.removeprefix("seed")) if name.startswith("seed") else SEED


def weights_file() -> Path:
    return shared_folder() / "weights" / "mobilenet_2_5_224_tf_no_top.h5"


def frozen(config: Config, parts: dict[str, pd.DataFrame], told: dict[str, np.ndarray]):
    """`mobilenet_small` with the backbone as it came: only its head learns.

    Args:
        told: film -> its pooled features, float32 (channels,).
    """
    path = RUNS / "frozen.keras"
    if path.exists():
        return keras.saving.load_model(path, compile=False)
    keras.utils.set_random_seed(SEED)
    network = models.build(MODEL, image_size=config.image_size, weights=str(weights_file()))
    head = x = keras.Input(network.get_layer("drop1").input.shape[1:])
    for name in ("drop1", "dense", "drop2", "findings"):
        x = network.get_layer(name)(x)
    head = keras.Model(head, x)
    head.compile(keras.optimizers.AdamW(1e-3), keras.losses.BinaryCrossentropy())
    films = {part: np.stack([told[film] for film in parts[part]["film"]]) for part in parts}
    labels = {part: parts[part][list(FINDINGS)].to_numpy(np.float32) for part in parts}
    best, kept = 0.0, head.get_weights()
    for _ in range(15):
        head.fit(films["train"], labels["train"], batch_size=64, verbose=0)
        scores = head.predict(films["validation"], batch_size=512, verbose=0)
        reached = np.nanmean(ranking.auroc(labels["validation"], scores))
        if reached > best:
            best, kept = reached, head.get_weights()
    head.set_weights(kept)
    print(f"frozen backbone: validation AUROC {best:.3f}")
    with artifacts.atomic(path) as temporary:
        network.save(temporary)
    return network


def features_of(network: keras.Model, name: str, films: list[str], paths) -> dict[str, np.ndarray]:
    """Film -> its cells' features, float16 (rows, columns, channels), kept for the next time."""
    path = RUNS / f"{name}_features.npz"
    if path.exists():
        with np.load(path, allow_pickle=False) as kept:
            return dict(zip(kept["films"], kept["told"], strict=True))
    size, maps = network.input_shape[1], []
    for start in range(0, len(films), 512):
        pictures = explain.read_films(films[start : start + 512], paths, size)
        maps.append(locating.features(network, pictures).astype(np.float16))
    told = np.concatenate(maps)
    with artifacts.atomic(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, films=np.array(films), told=told)
    return dict(zip(films, told, strict=True))


# ---- choosing on training boxes, reporting on others ------------------------------


def hits(cases: list[localisation.Case], maps: np.ndarray) -> pd.DataFrame:
    return localisation.judge(cases, [localisation.from_heatmap(one) for one in maps])


def folded(
    frame: pd.DataFrame, cases: list[localisation.Case], learn: Callable
) -> tuple[float, float]:
    """Pointing game on training boxes, each film's map learned without its fold's patients.

    Args:
        learn: films to learn from, and films to answer for, bool (films,) -> their maps.

    Returns:
        Of the maps, and of the point that the boxes of the other folds cover most often.
    """
    patients = frame["patient_id"].unique()
    order = np.random.default_rng(SEED).permutation(patients)
    fold = frame["patient_id"].map(pd.Series(np.arange(len(order)) % FOLDS, index=order))
    found, fixed = [], []
    for held in range(FOLDS):
        asked = (fold == held).to_numpy()
        films = frame.loc[asked, "film"].tolist()
        maps = dict(zip(films, learn(~asked, asked), strict=True))
        own = [case for case in cases if case.film in maps]
        others = [case for case in cases if case.film not in maps]
        found.append(hits(own, np.stack([maps[case.film] for case in own])))
        fixed.append(localisation.judge(own, localisation.most_covered(own, others)))
    return tuple(pd.concat(one)["pointing game"].mean() for one in (found, fixed))


def main() -> int:
    name = sys.argv[1] if len(sys.argv) > 1 else "default"
    if name not in NETWORKS:
        raise SystemExit(f"no network '{name}'; name one of {', '.join(NETWORKS)}.")
    if not (shared_folder() / "nih").is_dir():
        print(f"skipped: {shared_folder()} does not hold the real films; set SHARED_DIR.")
        return 0
    environment = real_films.environment(shared_folder()) | {"CXR_MODELS": MODEL}
    if name.startswith("seed"):
        environment["CXR_ENSEMBLE"] = "3"
    config = load_config(environment)
    commit = artifacts.commit()
    if name != "frozen":
        notebooks.execute(config, ["000", "100", "200"], environment)
    elif not (config.subset / "split.json").exists():
        notebooks.execute(config, ["000", "100"], environment)
    wanted = split_files.settings_of(config)
    parts, _ = split_files.load_split(config.subset, settings=wanted)
    paths = download.available(config, size=config.image_size)
    parts = {
        part: frame[frame["film"].isin(paths.keys())].reset_index(drop=True)
        for part, frame in parts.items()
    }
    report = Report(name, config, parts, paths)
    for kind in sys.argv[2:] or NETWORKS[name]:
        print(f"\n{kind}", *quoted(kind, report.table(kind)), sep="\n", flush=True)
    if all(report.place(kind).exists() for kind in NETWORKS[name]):
        for kind in NETWORKS[name]:
            artifacts.write_csv(RESULTS / report.place(kind).name, report.table(kind).round(4))
        facts = {"command": f"{COMMAND} {name}", "commit": commit, "seed": seed_of(name)}
        artifacts.write_json(RESULTS / f"heatmaps_{name}.json", report.facts | facts)
    return 0


def side_by_side(kind: str) -> pd.DataFrame:
    """A kept table of `CHOOSING`, with a column of pointing games for each network."""
    tables = [
        pd.read_csv(RESULTS / f"heatmaps_{name}_{kind}.csv").rename(
            columns={"pointing game": f"pointing game, {name}"}
        )
        for name, kinds in NETWORKS.items()
        if kind in kinds
    ]
    merged = functools.reduce(lambda ours, more: ours.merge(more, validate="1:1"), tables)
    games = [column for column in merged if column.startswith("pointing game")]
    return merged[[*merged.columns.drop(games), *games]]


def quoted(kind: str, table: pd.DataFrame) -> list[str]:
    """The rows of a table as `benchmarks/README.md` quotes them."""

    def told(row: pd.Series, value: str, low: str, high: str, form: str) -> str:
        if pd.isna(row[value]):
            return ""
        return f"{row[value]:{form}} ({row[low]:{form}} to {row[high]:{form}})"

    lines = []
    for _, row in table.iterrows():
        if kind in ("found", "control", "headed"):
            gains = [
                ""
                if row["method"] == name
                else told(row, name, f"{name}, low", f"{name}, high", "+.3f")
                for name in BASELINES
            ]
            cells = [row["method"], told(row, "value", "low", "high", ".3f"), *gains]
        elif kind == "ranked":
            gain = told(row, "difference", "difference, low", "difference, high", "+.3f")
            cells = [row["scores"], told(row, "auroc", "low", "high", ".3f"), gain]
        else:
            cells = [f"{one:.3f}" if isinstance(one, float) else one for one in row]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


class Report:
    """One network, its films, and its tables, each made once."""

    def __init__(self, name: str, config: Config, parts: dict[str, pd.DataFrame], paths: dict):
        self.name, self.parts, self.paths = name, parts, paths
        readings = rsna.read_readings(config.rsna)
        films = sorted(pd.concat(parts.values())["film"])
        if name != "frozen":
            seed = seed_of(name)
            training = next(one for one in config.trainings if one.seed == seed)
            self.network = inference.load_network(config.runs / training.run_name(MODEL))
        else:
            self.network = models.build(
                MODEL, image_size=config.image_size, weights=str(weights_file())
            )
        told = features_of(self.network, name, films, paths)
        if name == "frozen":
            last = self.network.get_layer("drop1").input.shape[-1]
            pooled = {film: one[..., -last:].mean((0, 1), np.float32) for film, one in told.items()}
            self.network = frozen(config, parts, pooled)
        train = parts["train"]
        self.told = {
            part: np.stack([told[film] for film in frame["film"]]) for part, frame in parts.items()
        }
        self.cases = localisation.opacity_cases(readings, train)
        held_out = pd.concat([real_films.block(parts[p]) for p in ("validation", "test")])
        self.held_out = held_out.reset_index()
        self.asked = localisation.opacity_cases(readings, self.held_out)
        grid = self.told["train"].shape[1:3]
        boxes = {case.film: case.boxes for case in self.cases}
        nothing = np.empty((0, 4))
        self.covered = np.stack(
            [locating.cover(boxes.get(film, nothing), grid) for film in train["film"]]
        )
        self.read = train["film"].isin(readings.films["film"]).to_numpy(np.float32)
        self.labels = train[list(FINDINGS)].to_numpy(np.float32)
        self.readings, self.config = readings, config
        self.facts = {
            "network": name,
            "training films": len(train),
            "training films read": int(self.read.sum()),
            "training films with boxes": len(self.cases),
            "training patients with boxes": len({case.patient_id for case in self.cases}),
            "held-out films with boxes": len(self.asked),
            "held-out patients with boxes": len({case.patient_id for case in self.asked}),
        }

    def pictures(self, cases: list[localisation.Case]) -> tuple[np.ndarray, np.ndarray]:
        """Films, and the column of the finding that each is asked about."""
        films = [case.film for case in cases]
        pictures = explain.read_films(films, self.paths, self.network.input_shape[1])
        run = inference.forward(self.network)
        scores = np.concatenate([run(pictures[s : s + 32]) for s in range(0, len(films), 32)])
        told = localisation.opacity_finding(pd.DataFrame(scores, films, list(FINDINGS)))
        return pictures, np.array([FINDINGS.index(told[film]) for film in films])

    @property
    def reference(self) -> np.ndarray:
        films = self.parts["validation"]["film"].head(explain.AVERAGED).tolist()
        return explain.read_films(films, self.paths, self.network.input_shape[1])

    def place(self, kind: str) -> Path:
        return RUNS / f"heatmaps_{self.name}_{kind}.csv"

    def table(self, kind: str) -> pd.DataFrame:
        """One of a network's `NETWORKS`; remove its file to have it made anew."""
        if not self.place(kind).exists():
            artifacts.write_csv(self.place(kind), getattr(self, kind)())
        return pd.read_csv(self.place(kind))

    def chosen(self) -> pd.DataFrame:
        """Maps after the fact, on boxes of training patients."""
        maps = maps_after_the_fact(self.network, *self.pictures(self.cases), self.reference)
        rows = [(name, hits(self.cases, one)["pointing game"].mean()) for name, one in maps]
        fixed = localisation.judge(self.cases, localisation.most_covered(self.cases))
        rows.append((FIXED, fixed["pointing game"].mean()))
        return pd.DataFrame(rows, columns=["map", "pointing game"])

    def located(self) -> pd.DataFrame:
        """The locator's penalty, by folds of training patients."""
        told, read = self.told["train"], self.read == 1

        def regression(penalty: float) -> Callable:
            def learn(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
                cells = told[known & read].astype(np.float32)
                weight, place = locating.learn(cells, self.covered[known & read], penalty=penalty)
                return special.expit(told[asked].astype(np.float32) @ weight + place)

            return learn

        return self._by_folds(
            {f"locator, penalty {penalty:,.0f}": regression(penalty) for penalty in PENALTIES}
        )

    def joint(self) -> pd.DataFrame:
        """How a head that learns boxes and labels pools its cells, by the same folds."""
        films = self.told["train"], self.labels, self.covered, self.read

        def head(pool: str) -> Callable:
            def learn(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
                made = taught(pool, *(part[known] for part in films))
                return answered(made, films[0][asked])[1]

            return learn

        return self._by_folds({pool: head(pool) for pool in POOLS})

    def _by_folds(self, learners: dict[str, Callable]) -> pd.DataFrame:
        rows = []
        for name, learn in learners.items():
            rows.append((name, *folded(self.parts["train"], self.cases, learn)))
            print(rows[-1], flush=True)
        return pd.DataFrame(rows, columns=["learned", "pointing game", FIXED])

    def head(self, pool: str, *, boxes: bool) -> Head:
        """A head of all training films, kept for the next time."""
        path = RUNS / f"{self.name}_{pool.replace(' ', '_')}_{boxes}.weights.h5"
        told = self.told["train"]
        if not path.exists():
            made = taught(pool, told, self.labels, self.covered, self.read, boxes=boxes)
            with artifacts.atomic(path) as temporary:
                made.save_weights(temporary)
        head = Head(pool, told)
        head(told[:1].astype(np.float32))
        head.load_weights(path)
        return head

    def heads(self) -> dict[str, Head]:
        """The chosen head, and one that learns no boxes."""
        pool = self.table("joint").set_index("learned")["pointing game"].idxmax()
        return {
            f"head that learns boxes and labels, {pool}": self.head(pool, boxes=True),
            "head that learns labels, mean": self.head("mean", boxes=False),
        }

    def found(self) -> pd.DataFrame:
        """The one report: boxes of held-out patients, each against the most covered point."""
        pictures, columns = self.pictures(self.asked)
        told = self.table("chosen").set_index("map")["pointing game"].drop(FIXED)
        best, shown = told.idxmax(), PAGES
        made = dict(
            maps_after_the_fact(self.network, pictures, columns, self.reference, only=(best, shown))
        )
        shuffled = explain.Explainer(explain.randomised(self.network, seed=SEED), self.reference)
        locator = locating.fit(
            self.network, self.readings, self.parts["train"], self.paths, seed=SEED
        )
        assert locator is not None, "the training patients have boxes"
        return self._against_baselines(
            {
                f"chosen map: {best}": hits(self.asked, made[best]),
                f"map that pages show: {shown}": hits(self.asked, made[shown]),
                "the same, shuffled weights": hits(
                    self.asked, shuffled.heatmaps(pictures, columns)
                ),
                "locator": hits(self.asked, locator.maps(pictures)),
            }
        )

    def control(self) -> pd.DataFrame:
        """The same boxes asked of a locator on a network that has forgotten everything."""
        twin = explain.randomised(self.network, seed=SEED)
        locator = locating.fit(twin, self.readings, self.parts["train"], self.paths, seed=SEED)
        assert locator is not None, "the training patients have boxes"
        pictures, _ = self.pictures(self.asked)
        return self._against_baselines(
            {"locator, shuffled weights": hits(self.asked, locator.maps(pictures))}
        )

    def headed(self) -> pd.DataFrame:
        """The same boxes asked of the head that learns boxes and labels."""
        rows = pd.concat([self.parts["validation"], self.parts["test"]])["film"].tolist()
        told = np.concatenate([self.told["validation"], self.told["test"]])
        told = told[[rows.index(case.film) for case in self.asked]]
        name, head = next(iter(self.heads().items()))
        return self._against_baselines({name: hits(self.asked, answered(head, told)[1])})

    def _against_baselines(self, answers: dict[str, pd.DataFrame]) -> pd.DataFrame:
        """Pointing game of each method, and what it has over each of `BASELINES`, paired."""
        fixed = (
            localisation.most_covered(self.asked, self.cases),
            localisation.mean_box(self.asked),
            localisation.centre(self.asked),
        )
        for name, given in zip(BASELINES, fixed, strict=True):
            answers[name] = localisation.judge(self.asked, given)
        table = localisation.summarise(answers)
        table = table[(table["finding"] == "All") & (table["measure"] == "pointing game")]
        table = table[["method", "value", "low", "high", "cases", "patients"]]
        for other in BASELINES:
            judged = {other: answers[other]}
            gains = pd.concat(
                localisation.advantage({"it": frame} | judged, "it").query("over == 'All'")
                for frame in answers.values()
            )
            table[other] = gains["difference"].to_numpy()
            table[f"{other}, low"] = gains["low"].to_numpy()
            table[f"{other}, high"] = gains["high"].to_numpy()
        return table

    def ranked(self) -> pd.DataFrame:
        """Whether a head that also learns boxes ranks worse, on the block's test films."""
        test = self.parts["test"]
        films = test["patient_id"].between(*real_films.BLOCK).to_numpy()
        names = test["film"].tolist()
        size, run = self.network.input_shape[1], inference.forward(self.network)
        own = [
            run(explain.read_films(names[start : start + 64], self.paths, size))
            for start in range(0, len(names), 64)
        ]
        heads = self.heads()
        scores = {name: answered(head, self.told["test"])[0] for name, head in heads.items()}
        scores["the network"] = np.concatenate(own)
        part = test[films]
        judged = {
            name: ranking.Judged.of(part, pd.DataFrame(one[films], part.index, list(FINDINGS)))
            for name, one in scores.items()
        }
        first = next(iter(judged))
        rows = []
        for name, one in judged.items():
            mean = ranking.auroc_by_finding(one).set_index("finding").loc["Mean"]
            row = {"scores": name, "auroc": mean["auroc"], "low": mean["low"], "high": mean["high"]}
            if name != first:
                pair = between({first: judged[first], name: one}).set_index("finding").loc["Mean"]
                row |= {
                    "difference": pair["difference"],
                    "difference, low": pair["low"],
                    "difference, high": pair["high"],
                }
            rows.append(row)
        return pd.DataFrame(rows)


if __name__ == "__main__":
    sys.exit(main())
