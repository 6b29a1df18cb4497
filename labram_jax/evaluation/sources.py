"""What is looked at with a model: a corpus, or recordings that become one for the moment."""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pandas as pd

from labram_jax.data.corpus import Corpus
from labram_jax.data.remote import is_address
from labram_jax.data.schema import CORPUS_FILE
from labram_jax.errors import InputError

if TYPE_CHECKING:
    from labram_jax.data_prep.table import CorpusTable

# For fewer recordings, several processes take longer to start than they save.
_MANY = 8


@contextmanager
def corpus_of(
    source: str | Path,
    split: str = "test",
    manifest: Path | None = None,
    notch: float | None = 50.0,
    classes: Sequence[str] = (),
) -> Iterator[tuple[Corpus, tuple[str, ...]]]:
    """A corpus, and what there is to tell of it: that at a path or an address, or one made of recordings.

    `source` may also be a recording, or a folder of recordings, in any format that MNE reads. They are prepared as by
    `labram-jax prepare folder` in a temporary folder, in float32, which is gone afterwards: all into `split`, unless
    `manifest`, which may give them subjects, labels and stretches, says another. Where all its labels are among
    `classes`, these are the corpus' classes, since a few recordings need not have all. `notch` is the mains frequency
    to take out of them in Hz, or None. Raises InputError where nothing can be used.
    """
    path = Path(source)
    if is_address(source) or (path / CORPUS_FILE).is_file():
        if manifest is not None:
            raise InputError(f"{source} is a corpus, which knows its labels: leave the manifest {manifest} out.")
        yield Corpus.open(source), ()
        return
    if not path.exists():
        raise InputError(f"There is no corpus, recording or folder of recordings {source}: check the path.")
    # MNE takes a while to import, and a corpus does not need it.
    from labram_jax.data_prep.build import build

    table, jobs = _table(path, split, manifest, notch)
    if table.classes and set(table.classes) <= {*classes}:
        labels = [classes.index(table.classes[label]) for label in table.rows["label"]]
        rows = table.rows.assign(label=pd.Series(labels, table.rows.index, dtype=object))
        table = dataclasses.replace(table, rows=rows, classes=tuple(classes))
    with TemporaryDirectory(prefix="labram-") as folder:
        report = build(table, Path(folder, "corpus"), jobs=jobs)
        told = [f"not used: {own.why_unusable()}" for own in report.unusable]
        told += [
            f"{note.rstrip('.')} ({count} of {len(report.recordings)} recordings)"
            for note, count in report.notes.items()
        ]
        try:
            yield Corpus.open(report.out), tuple(told)
        except InputError as error:
            if type(error) is not InputError:
                raise
            raise InputError(str(error).replace(str(report.out), str(source))) from error


def _table(path: Path, split: str, manifest: Path | None, notch: float | None) -> tuple["CorpusTable", int]:
    """The table of a recording or of a folder of them, and how many processes are worth it."""
    from labram_jax.data_prep.corpora import folder
    from labram_jax.data_prep.readers import bids
    from labram_jax.data_prep.sources.files import FOLDER_SUFFIXES
    from labram_jax.data_prep.sources.manifest import read_manifest
    from labram_jax.data_prep.table import CorpusTable, Span, Split, rows_of

    options = folder.Options(notch=notch, dtype="float32", manifest=manifest)
    if path.is_file() or path.name.lower().endswith(FOLDER_SUFFIXES):
        if manifest is not None:
            raise InputError(f"{path} is one recording: give the folder of the recordings that {manifest} lists.")
        rows = rows_of([Span(path, path.name, bids.subject_of(path), split)])
        return CorpusTable(path.name, rows, Split("given", folder.FRACTIONS), options.recipe(open=bids.open_bids)), 1
    if manifest is None or read_manifest(manifest, path).lines["split"].isna().all():
        options = dataclasses.replace(options, split_by="none")
    table = folder.table(path, options)
    rows = table.rows.assign(split=table.rows["split"].fillna(split))
    jobs = options.processes if rows["recording"].nunique() >= _MANY else 1
    return dataclasses.replace(table, rows=rows, split=options.split("given", folder.FRACTIONS)), jobs
