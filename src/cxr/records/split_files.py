"""A split on the disk: the files in `subset/`, which later stages read."""

from pathlib import Path

import pandas as pd

from cxr import artifacts
from cxr.config import Config
from cxr.errors import InputError
from cxr.records import nih, split_lists
from cxr.records.splits import NAMES


def split_settings(
    path: Path,
    kind: str,
    *,
    min_combination: int,
    seed: int,
    lists: Path | None = None,
) -> dict:
    """What decides a split; written with it, and compared before it is used.

    Args:
        path: the records file that the split is made from.
        kind, min_combination, seed, lists: as for `make`; what the kind of split does not
            depend on is noted as None, so that changing it makes no difference.

    Raises:
        InputError: if there are no records yet, or the lists are none.
    """
    if not Path(path).is_file():
        raise InputError(f"{path} does not exist; run notebook 000, which fetches it.")
    combinations = kind in ("patient", "original")
    return {
        "split": kind,
        "min_combination": min_combination if combinations else None,
        "seed": seed if kind in ("patient", "official") else None,
        "lists": str(lists) if kind == "community" else None,
        "lists_sha256": split_lists.checksum(lists) if kind == "community" else None,
        "records_sha256": artifacts.sha256(path),
    }


def settings_of(config: Config) -> dict:
    """`split_settings` of the split that a configuration asks for."""
    return split_settings(
        config.data / "records.csv",
        config.split,
        min_combination=config.min_combination,
        seed=config.seed,
        lists=config.split_lists,
    )


def save_split(records: pd.DataFrame, split: pd.Series, folder: Path, *, settings: dict) -> bool:
    """Write one CSV a split and `split.json` to `folder`; reuse what is there already.

    Args:
        records: as `nih.read_records` returns them.
        split: as `make` returns it.
        folder: the subset folder.
        settings: as the function `split_settings` returns them.

    Returns:
        True if the folder held this very split, so that nothing was written.

    Raises:
        InputError: if it holds a split made with other settings, or by a version of
            this code that divides differently.
    """
    parts = {name: records.loc[split.index[split == name]] for name in NAMES}
    about = Path(folder) / "split.json"
    films = {name: artifacts.fingerprint(part["film"]) for name, part in parts.items()}
    if about.exists():
        info = artifacts.read_json(about)
        for part, now in (("settings", settings), ("films_sha256", films)):
            artifacts.refuse_other_settings(about, info.get(part, {}), now, _REMEDY)
        if not _changed(folder, info):
            return True
    for name, part in parts.items():
        artifacts.write_csv(Path(folder) / f"{name}.csv", part)
    # Last, so that a folder with a split.json is complete.
    artifacts.write_json(
        about,
        {
            "settings": settings,
            "records": nih.identify(records),
            "records_version": nih.version(records),
            "counts": {
                name: {"films": len(part), "patients": int(part["patient_id"].nunique())}
                for name, part in parts.items()
            },
            "films_sha256": films,
            "files_sha256": {
                f"{name}.csv": artifacts.sha256(Path(folder) / f"{name}.csv") for name in NAMES
            },
            "versions": artifacts.versions(),
        },
    )
    return False


_REMEDY = "Remove that folder to divide anew (runs made from it no longer fit), or set CXR_ROOT."


def load_split(
    folder: Path, *, settings: dict | None = None
) -> tuple[dict[str, pd.DataFrame], dict]:
    """Read the split that notebook 100 saved.

    Args:
        folder: the subset folder.
        settings: as the function `split_settings` returns them for what is wanted now; None
            takes whatever is there.

    Returns:
        parts: the records of "train", "validation" and "test", columns as `nih.TYPES`.
        info: what `split.json` says: settings, counts, checksums, versions.

    Raises:
        InputError: if there is none, if it was made with other settings or from other
            records, or if a file was changed or removed since.
    """
    about = Path(folder) / "split.json"
    if not about.exists():
        raise InputError(f"{folder} holds no split; run notebook 100 first.")
    info = artifacts.read_json(about)
    artifacts.refuse_other_settings(about, info.get("settings", {}), settings or {}, _REMEDY)
    changed = _changed(folder, info)
    if changed:
        raise InputError(
            f"{', '.join(changed)} in {folder} changed or vanished after notebook 100 wrote it; "
            "run 100 again."
        )
    parts = {name: pd.read_csv(Path(folder) / f"{name}.csv", dtype=nih.TYPES) for name in NAMES}
    return parts, info


def _changed(folder: Path, info: dict) -> list[str]:
    """The CSVs that are no longer as `split.json` describes them."""
    expected = info.get("files_sha256", {})
    paths = [Path(folder) / f"{name}.csv" for name in NAMES]
    return [
        path.name
        for path in paths
        if not path.is_file() or artifacts.sha256(path) != expected.get(path.name)
    ]
