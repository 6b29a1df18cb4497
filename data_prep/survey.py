"""Looks at the headers of all recordings before any is prepared, and deals them out into shards."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep import recording
from data_prep.clean import pick
from data_prep.plan import CorpusPlan, RecordingPlan
from data_prep.shard import ShardJob
from data_prep.windows import default_seconds
from labram_jax.data.schema import RATE_HZ
from labram_jax.errors import InputError
from labram_jax.montage import known

# A shard is held in memory while it is written: half a gigabyte in float16.
_SHARD_SAMPLES = 2**28


@dataclass(frozen=True)
class SurveyJob:
    """One recording whose header is to be read, and how."""

    recipe: CorpusPlan
    recording: RecordingPlan


@dataclass(frozen=True)
class Survey:
    """The header of one recording: its montage, or the `reason` why it cannot be used."""

    electrodes: tuple[str, ...] = ()
    seconds: float = 0.0
    reason: str | None = None


@dataclass(frozen=True)
class Configuration:
    """One montage at one window length, and which recordings (by their place in the plan) have it."""

    name: str
    electrodes: tuple[str, ...]
    seconds: int
    members: tuple[int, ...]


def survey(job: SurveyJob) -> Survey:
    """Reads the header of one recording; a pure function of the file and the recipe."""
    recipe, planned = job.recipe, job.recording
    try:
        if planned.header is not None:
            channels, seconds = known(planned.header.channels, recipe.aliases), planned.header.seconds
        else:
            raw = (recipe.reader or recording.read)(planned.path, planned.group)
            channels, seconds = recording.channels(raw, recipe.aliases), recording.seconds(raw)
        return Survey(tuple(pick(channels, recipe.electrodes)), seconds)
    except InputError as error:
        return Survey(reason=str(error))


def configurations(plan: CorpusPlan, surveys: Sequence[Survey]) -> tuple[Configuration, ...]:
    """Groups recordings by montage, whatever the order of their channels; the first recording's order is taken."""
    orders: dict[frozenset[str], tuple[str, ...]] = {}
    members: dict[frozenset[str], list[int]] = {}
    for index, seen in enumerate(surveys):
        if seen.reason is None:
            montage = frozenset(seen.electrodes)
            orders.setdefault(montage, seen.electrodes)
            members.setdefault(montage, []).append(index)
    result, names = [], {}
    for montage, electrodes in sorted(orders.items(), key=lambda item: (len(item[1]), item[1])):
        seconds = plan.window_seconds or default_seconds(len(electrodes))
        name = f"{len(electrodes)}ch-{seconds}s"
        names[name] = names.get(name, 0) + 1
        suffix = f"-{names[name]}" if names[name] > 1 else ""
        result.append(Configuration(name + suffix, electrodes, seconds, tuple(members[montage])))
    return tuple(result)


def shards(
    plan: CorpusPlan,
    found: Sequence[Configuration],
    surveys: Sequence[Survey],
    folder: Path,
    dtype: str,
    recordings_per_shard: int,
) -> list[ShardJob]:
    """Deals the recordings of each configuration out into shards, in the plan's order; long ones fill one sooner."""
    recipe, jobs = plan.recipe(), []
    for configuration in found:
        batches: list[list[int]] = []
        samples = 0.0
        for index in configuration.members:
            more = surveys[index].seconds * RATE_HZ * len(configuration.electrodes)
            if not batches or len(batches[-1]) == recordings_per_shard or samples + more > _SHARD_SAMPLES:
                batches.append([])
                samples = 0.0
            batches[-1].append(index)
            samples += more
        jobs += [
            ShardJob(
                folder=folder / configuration.name,
                name=f"{number:05d}",
                recipe=recipe,
                recordings=tuple(plan.recordings[index] for index in batch),
                electrodes=configuration.electrodes,
                seconds=configuration.seconds,
                dtype=dtype,
                label=plan.label,
                outputs=plan.outputs,
            )
            for number, batch in enumerate(batches)
        ]
    return jobs
