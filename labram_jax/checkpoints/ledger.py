"""Whom and what a model saw in training, and how much of that is among the windows that it is scored on.

Every checkpoint carries it (`files.SEEN` in its meta), and takes over that of its tokenizer and of the model that it
started from. A subject is the same where the name of its corpus and its own are, and so is a recording: who is in two
corpora, or was prepared under another name, is not found.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from labram_jax.checkpoints.released import among_the_paper_s, related_to_the_paper_s
from labram_jax.jsonfile import built

# 64 bits: that any of a thousand names agrees by chance with any of a million digests happens once in 10^10 ledgers.
_HEX = 16
_PLACES = ["corpus", "subject", "recording"]
_SAID = {"tokenizer": "the tokenizer's training"}


@dataclass(frozen=True)
class Entry:
    """One split of one corpus that a model was trained on, or whose scores chose its checkpoint.

    The salt follows from the corpus' content, so that a run's ledger is reproducible, the same corpus is listed once
    for all stages, and no table of digests made beforehand serves for every corpus. It hides no one from whoever knows
    the corpus' name and can guess names in it: the ledger answers "is this subject among them?", which is its use.

    Attributes:
        corpus: its name.
        split: "training", or "validation" for those who chose a checkpoint: by scores on them, or by a probe's fit.
        stages: which stages' ("tokenizer", "pretraining", "fine-tuning").
        salt: hexadecimal.
        subjects, recordings: sorted digests of 16 hexadecimal digits, one after another: for a hundred thousand
            recordings under 2 MB, where the smallest published model with its optimizer takes 70.
    """

    corpus: str
    split: str
    stages: tuple[str, ...]
    salt: str
    subjects: str
    recordings: str

    @classmethod
    def of(
        cls, corpus: str, digest: str, split: str, stage: str, subjects: Iterable[str], recordings: Iterable[str]
    ) -> "Entry":
        """`digest` is the corpus' own, `data.digest.corpus_digest`."""
        salt = hashlib.sha256(f"salt {digest}".encode()).hexdigest()[:_HEX]
        kinds = {"subject": subjects, "recording": recordings}
        found = ("".join(sorted(_digest(salt, kind, corpus, name) for name in {*own})) for kind, own in kinds.items())
        return cls(corpus, split, (stage,), salt, *found)

    def __str__(self) -> str:
        counts = f"{len(self.subjects) // _HEX:,} subjects, {len(self.recordings) // _HEX:,} recordings"
        return f"{self.corpus}, {self.split} of {', '.join(self.stages)}: {counts}"

    def knows(self, kind: str, names: Iterable[str]) -> np.ndarray:
        """Which of these subjects or recordings of the corpus are among the entry's; `kind` is which of both."""
        kept = {"subject": self.subjects, "recording": self.recordings}[kind]
        there = {kept[start : start + _HEX] for start in range(0, len(kept), _HEX)}
        return np.array([_digest(self.salt, kind, self.corpus, name) in there for name in names], bool)


@dataclass(frozen=True)
class Ledger:
    """What is known of whom a model saw.

    Attributes:
        entries: splits of corpora.
        published: released files, of which the paper names the corpora.
        elsewhere: files of PyTorch that carry no ledger, and may derive from released ones.
        silent: checkpoints that carry none, as those of earlier versions.
    """

    entries: tuple[Entry, ...] = ()
    published: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()

    @classmethod
    def read(cls, plain: Mapping[str, Any] | None, where: str) -> "Ledger":
        """From plain data in the meta of `where`, which may lack it; raises InputError for what is no ledger."""
        return cls(silent=(where,)) if plain is None else built(cls, plain, f"the ledger of {where}")

    def plain(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def told(self) -> list[str]:
        """What it knows, a line each."""
        lines = [f"saw {entry}" for entry in self.entries]
        lines += [f"saw the pretraining corpora that LaBraM's paper names ({file})" for file in self.published]
        return lines + [f"{name} carries no ledger of whom it saw" for name in (*self.elsewhere, *self.silent)]

    def joined(self, *others: "Ledger") -> "Ledger":
        """Everything that some ledgers know, each thing once."""
        ledgers, stages = (self, *others), {}
        for entry in (entry for ledger in ledgers for entry in ledger.entries):
            what = dataclasses.replace(entry, stages=())
            stages[what] = (*stages.get(what, ()), *(own for own in entry.stages if own not in stages.get(what, ())))
        names = (
            tuple(dict.fromkeys(name for ledger in ledgers for name in getattr(ledger, field)))
            for field in ("published", "elsewhere", "silent")
        )
        return Ledger(tuple(dataclasses.replace(what, stages=own) for what, own in stages.items()), *names)

    def marked(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The recordings of `rows`, how many windows each has there, and a column (split, stage) for each that saw it.

        A recording counts as seen where it was, or its subject.
        """
        places = rows.groupby(_PLACES, sort=False).size().reset_index(name="windows")
        for entry in self.entries:
            own = places[places["corpus"] == entry.corpus]
            known = entry.knows("subject", own["subject"]) | entry.knows("recording", own["recording"])
            for stage in entry.stages:
                name = f"{entry.split} of {stage}"
                places[name] = places.index.isin(own.index[known]) | places.get(name, False)
        return places


@dataclass(frozen=True)
class Count:
    subjects: int
    windows: int


@dataclass(frozen=True)
class Overlap:
    """How much of what a model is scored on it saw before.

    Attributes:
        split: what the windows are called ("test").
        corpora: names of theirs.
        scored: all of them.
        trained_on, chosen_on: those of them on which a stage was trained, or chose its checkpoint, by stage.
        published, elsewhere, silent: as of the ledger.
    """

    split: str
    corpora: tuple[str, ...]
    scored: Count
    trained_on: Mapping[str, Count]
    chosen_on: Mapping[str, Count]
    published: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()

    def told(self) -> list[str]:
        """Sentences for whoever reads the scores."""
        found = [
            *self._counted(self.trained_on, "were seen in {}"),
            *self._counted(self.chosen_on, "helped to choose the checkpoint of {}"),
        ]
        unknown = (*self.published, *self.elsewhere, *self.silent)
        if not found and not unknown:
            of = f"none of the {self.scored.subjects} {self.split} subjects was seen in training"
            found = [f"{of}, by the names of corpora, subjects and recordings"]
        for corpus in self.corpora:
            found += [_by_the_paper(file, corpus) for file in self.published]
        for file in self.elsewhere:
            found.append(f"unknown: {file} carries no ledger of whom it saw")
            found += [
                f"the corpus {corpus} is among the pretraining corpora of LaBraM ({name}), so that it was seen if "
                "these weights derive from the published ones"
                for corpus in self.corpora
                if (name := among_the_paper_s(corpus))
            ]
        return found + [
            f"unknown: {name} carries no ledger of whom it saw, as checkpoints of earlier versions"
            for name in self.silent
        ]

    def plain(self) -> dict[str, Any]:
        """As data for JSON, with the sentences."""
        return {**dataclasses.asdict(self), "told": self.told()}

    def _counted(self, counts: Mapping[str, Count], what: str) -> list[str]:
        """A sentence for each number of subjects and windows, with all stages that it is of."""
        stages: dict[Count, list[str]] = {}
        for stage, count in counts.items():
            stages.setdefault(count, []).append(_SAID.get(stage, stage))
        all_of = self.scored
        return [
            f"{count.subjects} of the {all_of.subjects} {self.split} subjects ({count.windows:,} of "
            f"{all_of.windows:,} windows) {what.format(_listed(own))}"
            for count, own in stages.items()
        ]


def overlap(parts: Iterable[tuple[Ledger, pd.DataFrame]]) -> Overlap:
    """How much of some windows was seen by the models that are scored on them: each with the ledger of its own.

    Windows are lines with the columns corpus, split, recording and subject; models of several folds count together.
    """
    parts = list(parts)
    places = pd.concat([ledger.marked(rows) for ledger, rows in parts], ignore_index=True)
    found = {kind: {} for kind in ("training", "validation")}
    for name in places.columns.difference([*_PLACES, "windows"], sort=False):
        own = places[places[name].eq(True)]  # of a part without such an entry it is missing
        kind, _, stage = name.partition(" of ")
        if len(own):
            found[kind][stage] = _count(own)
    known = Ledger().joined(*(ledger for ledger, _ in parts))
    return Overlap(
        ", ".join(dict.fromkeys(name for _, rows in parts for name in rows["split"])),
        tuple(places["corpus"].unique()),
        _count(places),
        found["training"],
        found["validation"],
        known.published,
        known.elsewhere,
        known.silent,
    )


def _by_the_paper(file: str, corpus: str) -> str:
    """Whether a released file saw a corpus."""
    if name := among_the_paper_s(corpus):
        return f"the corpus {corpus} is among the pretraining corpora of LaBraM ({name}): {file}, saw it"
    own = f"{corpus} is none of the pretraining corpora that LaBraM's paper names ({file})"
    related = related_to_the_paper_s(corpus)
    return f"{own}, but {related} are, which may share patients with it" if related else own


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _count(places: pd.DataFrame) -> Count:
    return Count(places.groupby(["corpus", "subject"]).ngroups, int(places["windows"].sum()))


def _digest(salt: str, kind: str, corpus: str, name: str) -> str:
    content = "\0".join((salt, kind, corpus, name))
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:_HEX]
