"""The archives that a configuration's films come from: NIH's, or the demo's own."""

import contextlib
import dataclasses
import hashlib
import itertools
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from cxr import artifacts, phantoms
from cxr.config import Config
from cxr.fetch import small_files
from cxr.fetch.catalogue import ARCHIVES, FILMS, Archive


@contextlib.contextmanager
def open_archives(
    config: Config, records: pd.DataFrame, films: Sequence[str], boxes: pd.DataFrame
) -> Iterator[tuple[Archive, ...]]:
    """The archives that hold the films of this configuration, for as long as the block runs.

    In a demo they are drawn, packed and served on this machine, and behave like NIH's. For
    the user's own films there are none.

    Args:
        records: all records, as `cxr.records.nih.read` gives them.
        films: names of the films that are wanted.
        boxes: the finding boxes, where the demo's signs go.
    """
    if config.images is not None:
        yield ()
    elif config.phantoms:
        folder = config.root / ".phantoms"
        artifacts.sweep(folder)
        paths = phantoms.pack(records, boxes, films, folder, seed=config.seed)
        with phantoms.serve(folder) as address:
            yield tuple(_described(path, f"{address}/{path.name}") for path in paths)
    else:
        names = records["film"]
        if len(names) != FILMS:
            # The user's own records hold some of the films; the archives hold all.
            names = pd.read_csv(small_files.path_of("records"), usecols=["Image Index"])[
                "Image Index"
            ]
        names, ends = sorted(names), itertools.accumulate(archive.films for archive in ARCHIVES)
        yield tuple(
            dataclasses.replace(archive, contents=tuple(names[end - archive.films : end]))
            for archive, end in zip(ARCHIVES, ends, strict=True)
        )


def _described(path: Path, url: str) -> Archive:
    """An archive on this disk, described as NIH's are."""
    with tarfile.open(path) as tar:
        contents = tuple(name.removeprefix("images/") for name in tar.getnames())
    with path.open("rb") as file:
        md5 = hashlib.file_digest(file, "md5").hexdigest()
    return Archive(path.name, url, path.stat().st_size, md5, len(contents), contents=contents)
