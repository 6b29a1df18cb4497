"""Looks at the headers of all recordings before any is prepared, and deals them out into shards."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labram_jax.data.schema import RATE_HZ
from labram_jax.data_prep.cleaning.channels import derivation
from labram_jax.data_prep.recipe import Recipe
from labram_jax.data_prep.shard import RecordingFile, ShardJob, check_name, open_reader, reason_of

# A shard is what a killed build has to make again: half a gigabyte in float16.
_SHARD_SAMPLES = 2**28


@dataclass(frozen=True)
class SurveyJob:
    """One recording whose header is to be read, and how."""

    recipe: Recipe
    file: RecordingFile


@dataclass(frozen=True)
class Survey:
    """The header of one recording: its electrodes in order, or the `reason` why it cannot be used."""

    electrodes: tuple[str, ...] = ()
    seconds: float = 0.0
    reason: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Montage:
    """Electrodes that some recordings share, in the order of the first of them, and these recordings' places."""

    name: str
    electrodes: tuple[str, ...]
    members: tuple[int, ...]


def survey(job: SurveyJob) -> Survey:
    """Reads the header of one recording; a pure function of the file and the recipe."""
    seconds, notes = 0.0, ()
    try:
        check_name(job.file)
        header = open_reader(job.file, job.recipe).header
        seconds, notes = header.seconds, header.notes
        return Survey(derivation(header, job.recipe).electrodes, seconds, None, notes)
    except Exception as error:  # one recording never ends a build, whatever its reader meets
        return Survey((), seconds, reason_of(error), notes)


def montages(surveys: Mapping[int, Survey]) -> tuple[Montage, ...]:
    """Groups recordings by their electrodes, whatever the order of their channels; `surveys` go by place."""
    orders: dict[frozenset[str], tuple[str, ...]] = {}
    members: dict[frozenset[str], list[int]] = {}
    for place, seen in surveys.items():
        shared = frozenset(seen.electrodes)
        orders.setdefault(shared, seen.electrodes)
        members.setdefault(shared, []).append(place)
    found, names = [], {}
    for shared, electrodes in sorted(orders.items(), key=lambda item: (len(item[1]), item[1])):
        name = f"{len(electrodes)}ch"
        names[name] = names.get(name, 0) + 1
        suffix = f"-{names[name]}" if names[name] > 1 else ""
        found.append(Montage(name + suffix, electrodes, tuple(members[shared])))
    return tuple(found)


def shards(
    found: Sequence[Montage],
    files: Sequence[RecordingFile],
    surveys: Mapping[int, Survey],
    recipe: Recipe,
    folder: Path,
    recordings_per_shard: int,
    fingerprint: str,
) -> list[ShardJob]:
    """Deals the recordings of each montage out into shards, in order; long ones fill one sooner.

    `fingerprint` stands for the recipe and the contents of the files: it goes into the shards' names.
    """
    jobs = []
    for montage in found:
        batches: list[list[int]] = []
        samples = 0.0
        for place in montage.members:
            more = surveys[place].seconds * RATE_HZ * len(montage.electrodes)
            if not batches or len(batches[-1]) == recordings_per_shard or samples + more > _SHARD_SAMPLES:
                batches.append([])
                samples = 0.0
            batches[-1].append(place)
            samples += more
        jobs += [
            ShardJob(
                folder=folder / montage.name,
                name=f"{number:05d}-{_digest(fingerprint, montage, [files[place] for place in batch])}",
                recipe=recipe,
                recordings=tuple(files[place] for place in batch),
                electrodes=montage.electrodes,
            )
            for number, batch in enumerate(batches)
        ]
    return jobs


def _digest(fingerprint: str, montage: Montage, files: Sequence[RecordingFile]) -> str:
    content = [fingerprint, montage.electrodes, files]
    return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()[:16]
