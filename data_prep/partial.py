"""The folder OUT.partial, in which a corpus comes together: what a killed build left there is never lost or in the way.

OUT.partial/plan        a digest of what is built (table, files, shards): written when the rest fits it, removed first
OUT.partial/shards/     finished shards, whose names hold the digest of their job
OUT.partial/corpus/     the corpus itself, until it is renamed to OUT
OUT.partial/done.json   what became of the recordings: written when corpus/ is whole
OUT.partial/replaced/   what was OUT before, while corpus/ takes its place
OUT.lock                held by the process that builds
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from labram_jax.data.schema import CORPUS_FILE
from labram_jax.data_prep.shard import RecordingReport, ShardJob, recording_report
from labram_jax.errors import InputError
from labram_jax.lock import held

_NEW = ".new"


@dataclass(frozen=True)
class Partial:
    """The folder beside `out` in which its corpus comes together. Make it with `partial`, which locks it."""

    out: Path

    @property
    def folder(self) -> Path:
        return self.out.with_name(f"{self.out.name}.partial")

    @property
    def shards(self) -> Path:
        return self.folder / "shards"

    @property
    def corpus(self) -> Path:
        return self.folder / "corpus"

    @property
    def _plan(self) -> Path:
        return self.folder / "plan"

    @property
    def _done(self) -> Path:
        return self.folder / "done.json"

    @property
    def _replaced(self) -> Path:
        return self.folder / "replaced"

    def check_out(self, overwrite: bool) -> None:
        """Raises InputError where `out` is taken: a folder is replaced only on request, and only if it is a corpus."""
        out = self.out
        if not out.exists() or (out.is_dir() and not any(out.iterdir())):
            return
        if not overwrite:
            raise InputError(f"{out} exists already: choose another folder, or ask to overwrite it.")
        if not (out / CORPUS_FILE).is_file():
            raise InputError(f"{out} exists and is not a corpus: it will not be overwritten; choose another folder.")

    @property
    def in_place(self) -> bool:
        """Whether a build was killed after its corpus had become `out`."""
        return self._done.exists() and not self.corpus.exists() and self.out.exists()

    def start(self, plan: str, jobs: Sequence[ShardJob]) -> None:
        """Keeps what an interrupted build of the same plan left, and of another one the shards that are alike."""
        if self._read(self._plan) == plan:
            return
        self._plan.unlink(missing_ok=True)
        self._done.unlink(missing_ok=True)
        _remove(self.corpus)
        names = {job.name for job in jobs}
        for file in list(self.shards.rglob("*")):
            # Shards that were moved to the corpus are gone with it.
            if file.is_file() and (file.stem not in names or not file.with_suffix(".array_record").exists()):
                file.unlink()
        self.corpus.mkdir(parents=True)
        self._write(self._plan, plan)

    def done(self, plan: str) -> list[RecordingReport] | None:
        """Returns the reports of a build of this plan that was killed after its corpus was whole, or None."""
        content = self._read(self._done) if self._read(self._plan) == plan else None
        return None if content is None else [recording_report(entry) for entry in json.loads(content)]

    def finish(self, reports: Sequence[RecordingReport]) -> None:
        """Says that the corpus is whole."""
        self._write(self._done, json.dumps([asdict(report) for report in reports]))

    def put_in_place(self) -> None:
        """Renames the whole corpus to `out`, and removes the rest; may be repeated after an interruption."""
        if self.corpus.exists():
            if self.out.exists():
                self.out.rename(self._replaced)
            self.corpus.rename(self.out)
        self.discard()

    def discard(self) -> None:
        """Removes the folder, what tells of a whole corpus last."""
        for folder in (self.shards, self.corpus, self._replaced):
            _remove(folder)
        self._done.unlink(missing_ok=True)
        self._plan.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def recover(self) -> None:
        """Gives `out` back what it was, where a build was killed while replacing it.

        Raises InputError where what lies in the folder is of no build.
        """
        if not self.folder.exists():
            return
        known = {path.name for path in (self.shards, self.corpus, self._replaced)}
        known |= {path.name + new for path in (self._plan, self._done) for new in ("", _NEW)}
        if not self.folder.is_dir() or {path.name for path in self.folder.iterdir()} - known:
            raise InputError(f"{self.folder} is in the way and no interrupted build: move it away.")
        if self.corpus.exists() and self._replaced.exists() and not self.out.exists():
            self._replaced.rename(self.out)
        _remove(self._replaced)

    def _read(self, file: Path) -> str | None:
        return file.read_text(encoding="utf-8") if file.exists() else None

    def _write(self, file: Path, text: str) -> None:
        new = file.with_name(file.name + _NEW)
        new.write_text(text, encoding="utf-8")
        new.replace(file)


def _remove(folder: Path) -> None:
    if folder.is_symlink():  # what was OUT may have been one
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


@contextmanager
def partial(out: Path) -> Iterator[Partial]:
    """Locks `out` against other builds and gives its `Partial`, after an interruption in the state before it.

    Raises OSError where another process builds `out`, and InputError where what lies beside it is of no build. An
    OSError meanwhile says where it was.
    """
    own = Partial(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with held(out.with_name(f"{out.name}.lock"), f"The corpus {out}", remove=True):
        own.recover()
        try:
            yield own
        except OSError as error:
            if error.filename is None and error.strerror is not None:  # a failed write does not say to which file
                raise OSError(error.errno, error.strerror, str(own.folder)) from error
            raise
