"""One configuration: defaults, then a profile, then `CXR_<FIELD>` variables."""

import contextlib
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

from cxr.errors import InputError

PROJECT = Path(__file__).resolve().parents[2]

# Whose films: NIH's, or those of a key of `cxr.records.sources.SOURCES`.
SOURCES = ("nih", "chexpert", "padchest", "vindr", "indiana", "folder")

SPLITS = ("patient", "official", "original", "community")

# Bytes. Names of files and folders end with it, and hold up to 255.
LONGEST_TAG = 100

# A value of CXR_WEIGHTS: weights that were learned from drawings, for models of drawings.
PHANTOM_WEIGHTS = "phantoms"


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that a run can be told. Immutable; paths are absolute.

    `dataclasses.replace` makes a changed copy. Only notebooks and `__main__` call
    `load_config`; functions take the values that they need.
    """

    # Which profile the defaults came from: a key of PROFILES.
    profile: str = "demo"
    # Where data/, subset/, runs/ and presentation/ lie.
    root: Path = PROJECT
    # Whose films: one of SOURCES.
    source: str = "nih"
    # The user's own records CSV; fetched where absent.
    records: Path | None = None
    # A folder of films that the user already has; fetched where absent.
    images: Path | None = None
    # Only these films are fetched: a number (patient-wise, stratified by finding),
    # "boxes" (the films with finding boxes), or a file of film names. None: all.
    sample: str | None = None
    # Side of the stored films in pixels; None keeps the originals (1024).
    store_size: int | None = None
    # Archives that are downloaded at the same time.
    parallel: int = 3
    # Keep the archives after unpacking.
    keep_archives: bool = False
    # Label combinations with fewer films are left out; 0 keeps all. The original
    # project kept those with more than 20 films.
    min_combination: int = 21
    # How films are divided: one of SPLITS.
    split: str = "patient"
    # The user's own train/validation/test lists (split "community"): a folder, or one file.
    split_lists: Path | None = None
    # Let NIH's own splits, "official" and "original", be made of a part of its records.
    partial_records: bool = False
    # Folder with RSNA's readings of 2018 (see cxr.records.rsna); None does without.
    rsna: Path | None = None
    # Side of the films that the models see, in pixels.
    image_size: int = 128
    # Models to train: keys of the registry in cxr.modelling.models.
    models: tuple[str, ...] = ("baseline", "residual", "mobilenet")
    # "imagenet", "phantoms" (learned from drawings, for drawings only), "none" (random), or a
    # file of weights; for the transfer models only.
    weights: str = "imagenet"
    # Trainings of each model, with other seeds, that are averaged into a further run,
    # together with those of the other models; 0 makes no such run.
    ensemble: int = 0
    # Passes over the training films, at most.
    epochs: int = 16
    # Films in one training step, over all devices together.
    batch_size: int = 32
    # Peak of the learning-rate schedule; None takes each model's own.
    learning_rate: float | None = None
    # Decides the split, the initial weights, the order of films, augmentation.
    seed: int = 42
    # Appended to the names of runs, to keep variants apart.
    tag: str = ""
    # Let a profile that expects a GPU start without one.
    allow_cpu: bool = False

    @property
    def phantoms(self) -> bool:
        """Whether the films are drawn, not real."""
        return self.profile == "demo" and self.images is None

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def films(self) -> Path:
        """Films lie in this folder or below it: also in Kaggle's nested folders."""
        # Another hospital's films are kept in `data`, as NIH's are.
        return self.images if self.images and self.source == "nih" else self.data

    @property
    def subset(self) -> Path:
        return self.root / "subset"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def presentation(self) -> Path:
        return self.root / "presentation"

    @property
    def banner(self) -> str:
        """What a reader must know about the films before any result, as Markdown."""
        if self.phantoms:
            return (
                "> **Demo.** The records are the real ones of NIH ChestX-ray14, but every film "
                "is a *phantom*: a synthetic drawing. The models learn the drawings; no score "
                "here says anything about real films or patients. "
                "Research software, not a medical device."
            )
        films = "real films" if self.source == "nih" else f"films of `{self.source}`"
        return (
            f"> Profile `{self.profile}`, split `{self.split}`, {films}. "
            "Research software, not a medical device: no score here may guide care."
        )

    @property
    def trainings(self) -> tuple["Config", ...]:
        """This configuration once for each training of a model, with a seed of its own."""
        others = (
            dataclasses.replace(self, seed=seed, tag=f"{self.tag}-seed{seed}".strip("-"))
            for seed in range(self.seed + 1, self.seed + self.ensemble)
        )
        return (self, *others)

    @property
    def ensemble_name(self) -> str:
        """Folder name of the run that averages all trainings."""
        return self.run_name("ensemble")

    @property
    def evaluated(self) -> tuple[str, ...]:
        """Folder names of the runs that are evaluated: one a model, and the ensemble."""
        names = tuple(self.run_name(model) for model in self.models)
        return (*names, self.ensemble_name) if self.ensemble else names

    def run_name(self, model: str) -> str:
        """Folder name of a model's run: `<model>-<split>[-<tag>]`."""
        return "-".join(part for part in (model, self.split, self.tag) if part)


PROFILES: dict[str, dict] = {
    # Real records, phantom films, a few minutes on two CPU cores.
    "demo": {
        "sample": "1500",
        "image_size": 64,
        "models": ("baseline", "mobilenet_small"),
        "weights": PHANTOM_WEIGHTS,
        "epochs": 16,
    },
    # The first NIH archive: 4,999 real films, 2 GB.
    "first_archive": {"image_size": 128, "models": ("baseline", "residual", "mobilenet")},
    # All 112,120 films; needs a GPU.
    "full": {
        "image_size": 224,
        "models": ("baseline", "residual", "mobilenet", "densenet121"),
    },
}

# Profiles that refuse to start without a GPU unless `allow_cpu` is set.
NEEDS_GPU = ("full",)


def load_config(environment: Mapping[str, str] | None = None, **overrides) -> Config:
    """Build the configuration from the profile, the environment and `overrides`.

    Args:
        environment: variables to read; `os.environ` by default. `CXR_<FIELD>` sets
            the field, an empty value counts as not set. Relative paths start at the
            current folder.
        overrides: values that win over both.

    Raises:
        InputError: for an unknown profile, an unknown `CXR_` variable or a value that
            does not fit its field; the message lists what exists.
    """
    environment = os.environ if environment is None else environment
    fields = {field.name: field for field in dataclasses.fields(Config)}
    given = {
        name.removeprefix("CXR_").lower(): value.strip()
        for name, value in environment.items()
        if name.startswith("CXR_") and value.strip()
    }
    unknown = sorted(set(given) - set(fields))
    if unknown:
        raise InputError(
            f"unknown variable {', '.join(f'CXR_{name.upper()}' for name in unknown)}; known are "
            f"{', '.join(f'CXR_{name.upper()}' for name in fields)}."
        )
    profile = overrides.pop("profile", None) or given.pop("profile", Config.profile)
    given.pop("profile", None)
    if profile not in PROFILES:
        raise InputError(f"unknown profile '{profile}'; known are {', '.join(PROFILES)}.")
    values = PROFILES[profile] | {name: _parse(fields[name], text) for name, text in given.items()}
    config = Config(**(values | overrides | {"profile": profile}))
    if not config.phantoms and "weights" not in {*given, *overrides} and profile == "demo":
        # What was learned from drawings is no start for real films.
        config = dataclasses.replace(config, weights="none")
    if config.phantoms and "root" not in values and "root" not in overrides:
        # A root of its own: a demo can never overwrite real artifacts.
        config = dataclasses.replace(config, root=PROJECT / "demo")
    _validate(config)
    return config


def names_file(text: str) -> bool:
    """Whether a setting's text is the path of a file; long texts are none."""
    try:
        return Path(text).expanduser().is_file()
    except (OSError, RuntimeError, ValueError):
        return False


def _parse(field: dataclasses.Field, text: str):
    """Turn one variable's text into its field's type."""
    name = f"CXR_{field.name.upper()}"
    # "int", "tuple", or "int | None".
    kind = getattr(field.type, "__name__", str(field.type))
    if "Path" in kind:
        return _path(name, text)
    if field.name in ("sample", "weights") and names_file(text):
        # As the other paths: absolute, so that a kernel in another folder means the same file.
        return str(Path(text).expanduser().resolve())
    if kind == "bool":
        truth = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
        if text.lower() not in truth:
            raise InputError(f"{name}='{text}' is neither 1 (yes) nor 0 (no).")
        return truth[text.lower()]
    if kind.startswith("tuple"):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    for number, word in ((int, "whole number"), (float, "number")):
        if kind.startswith(number.__name__):
            try:
                return number(text)
            except ValueError:
                raise InputError(f"{name}='{text}' is not a {word}.") from None
    return text


def _path(name: str, text: str) -> Path:
    """A path that can exist, absolute.

    Raises:
        InputError: for a home that nobody has, a link that leads to itself, or a name that is
            too long.
    """
    try:
        path = Path(text).expanduser().resolve()
        # `exists` and `resolve` tell less with each Python.
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.stat()
    except (OSError, RuntimeError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise InputError(f"{name}='{text}' is no path that can be used ({why}).") from None
    return path


def _validate(config: Config) -> None:
    """Refuse values that no stage could use, naming what is allowed."""
    # Below 64 px the small CNN pools its films away; the originals have 1024.
    ranges = {
        "parallel": (1, 12),
        "store_size": (32, 1024),
        "image_size": (64, 1024),
        "min_combination": (0, 112_120),
        "ensemble": (0, 100),
        "epochs": (1, 10_000),
        "batch_size": (1, 65_536),
        # Each training of an ensemble takes the next one.
        "seed": (0, 2**32 - max(1, config.ensemble)),
        "learning_rate": (1e-9, 10.0),
    }
    for name, (low, high) in ranges.items():
        value = getattr(config, name)
        if value is not None and not low <= value <= high:
            raise InputError(f"CXR_{name.upper()}={value} is outside {low} to {high}.")
    if config.split not in SPLITS:
        raise InputError(
            f"unknown split CXR_SPLIT='{config.split}'; known are {', '.join(SPLITS)}."
        )
    if config.weights == PHANTOM_WEIGHTS and not config.phantoms:
        raise InputError(
            "CXR_WEIGHTS=phantoms was learned from drawings and starts models of the demo's "
            "drawings only; set CXR_WEIGHTS to imagenet, none or a file."
        )
    if config.source not in SOURCES:
        raise InputError(
            f"unknown source CXR_SOURCE='{config.source}'; known are {', '.join(SOURCES)}."
        )
    if config.source != "nih":
        if config.records is None or config.images is None:
            raise InputError(
                f"CXR_SOURCE={config.source} needs its table in CXR_RECORDS and the folder of its "
                "films in CXR_IMAGES; it is not fetched."
            )
        if config.split != "patient":
            raise InputError(
                f"CXR_SPLIT={config.split} is a split of NIH's films, and CXR_SOURCE="
                f"{config.source} has others; set CXR_SPLIT=patient."
            )
    if not config.models or len(set(config.models)) < len(config.models):
        raise InputError("CXR_MODELS names no model, or one twice; separate them by commas.")
    if config.ensemble and config.ensemble * len(config.models) < 2:
        raise InputError(
            "CXR_ENSEMBLE=1 averages one training of each model, but CXR_MODELS names one; name "
            "more models, or set CXR_ENSEMBLE to 2 or more."
        )
    _validate_names(config)


def _validate_names(config: Config) -> None:
    """Refuse a tag that fits no file name, and paths where nothing of their kind is."""
    if config.tag and not config.tag.replace("_", "").replace(".", "").replace("-", "").isalnum():
        raise InputError(f"CXR_TAG='{config.tag}' may hold letters, digits, '-', '_' and '.' only.")
    if (size := len(config.tag.encode())) > LONGEST_TAG:
        raise InputError(
            f"CXR_TAG takes {size} bytes, and {LONGEST_TAG} at most fit into the names of files."
        )
    for name in ("records", "images", "split_lists", "rsna"):
        path = getattr(config, name)
        if path is not None and not path.exists():
            raise InputError(f"CXR_{name.upper()}={path} does not exist.")
    for name in ("images", "rsna"):
        path = getattr(config, name)
        if path is not None and not path.is_dir():
            raise InputError(f"CXR_{name.upper()}={path} is not a folder.")
