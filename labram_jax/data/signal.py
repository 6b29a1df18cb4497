"""Reads stretches of stored signal: the records of montages, at random."""

import errno
import math
import os
import resource
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader
from jaxtyping import Bool, Float, Int64
from tensorflow_datasets.proto import tf_example_pb2

from labram_jax.data.schema import RECORD_SAMPLES
from labram_jax.errors import MAY_PASS, RETRY_PAUSES, DamageError, exit_code, os_error_in

FILES_AT_A_TIME = 8
_ADVICE = "copy or prepare the corpus again"
_HEAD_BYTES = 64  # of a record, more than precede its samples


class Stretch(NamedTuple):
    """Some consecutive signal to be read, and where to put it.

    Attributes:
      first_record: number of the first record of its piece.
      start: first sample, from the start of the piece.
      electrodes: which electrodes to take; None is all of them.
      out: [electrodes taken, samples], filled by `Signal.read`; its type decides that of the samples.
    """

    first_record: int
    start: int
    electrodes: Bool[np.ndarray, "C"] | None
    out: Float[np.ndarray, "taken samples"]

    @property
    def records(self) -> range:
        """Numbers of the records that hold it."""
        last = self.start + self.out.shape[1] - 1
        return range(self.first_record + self.start // RECORD_SAMPLES, self.first_record + last // RECORD_SAMPLES + 1)


class Signal:
    """The records of one montage: `shards` in order with the number of records of each.

    electrodes, dtype: of the samples of a record. Files open when first read, and those read longest ago close when
    half of the files that this process may open are.
    """

    def __init__(self, shards: Sequence[Path], lengths: Sequence[int], electrodes: int, dtype: str):
        self._shards, self._lengths = tuple(shards), tuple(lengths)
        self._electrodes, self.dtype = electrodes, np.dtype(dtype)
        self._ends = np.cumsum(self._lengths)
        self._marker = _marker(electrodes * RECORD_SAMPLES * self.dtype.itemsize)
        self._readers: OrderedDict[int, ArrayRecordReader] = OrderedDict()  # the one used last is last
        self._lock = threading.Lock()

    def __reduce__(self):
        # Open files do not travel to another process.
        return Signal, (self._shards, self._lengths, self._electrodes, str(self.dtype))

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, stretches: Sequence[Stretch]) -> None:
        """Fills the `out` of all stretches; every record that they share is read once.

        Raises DamageError where a record is not what was written, or holds what preparation never writes (NaN and
        infinities), and OSError where the system does not give it.
        """
        read_all([(self, stretches)])

    def by_shard(self, stretches: Sequence[Stretch]) -> list[tuple[int, Int64[np.ndarray, "records"]]]:
        """Returns the records of all stretches, each once, by the number of their shard."""
        if not stretches:
            return []
        wanted = np.unique(np.concatenate([stretch.records for stretch in stretches]))
        shards, firsts = np.unique(np.searchsorted(self._ends, wanted, side="right"), return_index=True)
        return list(zip(shards.tolist(), np.split(wanted, firsts[1:]), strict=True))

    def records(self, shard: int, numbers: Int64[np.ndarray, "records"]) -> dict[int, Float[np.ndarray, "C samples"]]:
        """Returns records of a shard by their numbers in the montage, after some tries where the storage fails.

        Errors as in `read`.
        """
        for pause in (*RETRY_PAUSES, None):
            try:
                return self._records(shard, numbers)
            except OSError as error:
                if pause is None or exit_code(error) != MAY_PASS:
                    raise
                with self._lock:
                    self._readers.pop(shard, None)  # one that failed goes on failing
                time.sleep(pause)

    def _records(self, shard: int, numbers: Int64[np.ndarray, "records"]) -> dict[int, Float[np.ndarray, "C samples"]]:
        first = int(self._ends[shard]) - self._lengths[shard]
        try:
            reader = self._reader(shard)
            # One at a time: for several the library starts threads, which take longer than what they read.
            return {number: self._decode(*reader.read([number - first])) for number in numbers.tolist()}
        except (RuntimeError, ValueError, IndexError) as error:
            refused = os_error_in(str(error), str(self._shards[shard]))
            if refused is not None and refused.errno != errno.EINVAL:  # a place in the file that cannot be
                raise refused from error
            reason = " ".join(str(error).split())[:200]
            raise DamageError(f"{self._shards[shard]} cannot be read ({reason})", _ADVICE) from error

    def told(self, stretch: Stretch) -> str:
        """Says that the samples of a stretch are not finite, which preparation never writes."""
        first = stretch.records[0]
        shard = self._shards[int(np.searchsorted(self._ends, first, side="right"))]
        return f"{shard} holds samples that are not finite (in record {first} of the montage or the next ones)"

    def _reader(self, shard: int) -> ArrayRecordReader:
        with self._lock:
            if shard not in self._readers:
                path = str(self._shards[shard])
                while self._readers and _files_are_many(path):
                    self._readers.popitem(last=False)  # it closes once no thread reads from it
                self._readers[shard] = ArrayRecordReader(path, options="readahead_buffer_size:0")
            self._readers.move_to_end(shard)
            return self._readers[shard]

    def _decode(self, record: bytes) -> Float[np.ndarray, "C samples"]:
        start = record.index(self._marker, 0, _HEAD_BYTES) + len(self._marker)
        shape = (self._electrodes, RECORD_SAMPLES)
        return np.frombuffer(record, self.dtype, math.prod(shape), start).reshape(shape)


def read_all(wanted: Sequence[tuple[Signal, Sequence[Stretch]]], threads: ThreadPoolExecutor | None = None) -> None:
    """Fills stretches of several montages as `Signal.read` does, with `threads` up to 8 files side by side."""
    jobs = [
        (own, shard, numbers)
        for own, (signal, stretches) in enumerate(wanted)
        for shard, numbers in signal.by_shard(stretches)
    ]
    # Some shards at a time, since handing over takes a while too.
    step = max(-(-len(jobs) // FILES_AT_A_TIME), 1)
    groups = [jobs[first : first + step] for first in range(0, len(jobs), step)]

    def read(group: list) -> list[tuple[int, dict[int, np.ndarray]]]:
        return [(own, wanted[own][0].records(shard, numbers)) for own, shard, numbers in group]

    decoded: list[dict[int, np.ndarray]] = [{} for _ in wanted]
    each = map if threads is None or len(groups) == 1 else threads.map
    for own, records in chain.from_iterable(each(read, groups)):
        decoded[own] |= records
    for records, (signal, stretches) in zip(decoded, wanted, strict=True):
        for stretch in stretches:
            _fill(stretch, records)
            if not _is_finite(stretch.out):
                raise DamageError(signal.told(stretch), _ADVICE)


def _files_are_many(path: str) -> bool:
    """Whether half of the files that this process may open are open: a new one gets the lowest number that is free."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    file = os.open(path, os.O_RDONLY)
    os.close(file)
    return limit != resource.RLIM_INFINITY and file >= limit // 2


def _marker(payload: int) -> bytes:
    """What stands before the samples in a serialized record: parsing it would copy them twice."""
    example = tf_example_pb2.Example()
    example.features.feature["eeg"].bytes_list.value.append(bytes(payload))
    head = example.SerializeToString()[:-payload]
    return head[head.index(b"eeg") :]


def _is_finite(samples: Float[np.ndarray, "taken samples"]) -> bool:
    if samples.dtype != np.float16:
        return bool(np.isfinite(samples).all())
    # By their bits, which takes a tenth of the time: without an exponent of ones throughout they are numbers.
    return not ((samples.view(np.uint16) & 0x7C00) == 0x7C00).any()


def _fill(stretch: Stretch, decoded: dict[int, np.ndarray]) -> None:
    filled, samples = 0, stretch.out.shape[1]
    begin = stretch.start % RECORD_SAMPLES
    for number in stretch.records:
        taken = min(RECORD_SAMPLES - begin, samples - filled)
        part = decoded[number][:, begin : begin + taken]
        stretch.out[:, filled : filled + taken] = part if stretch.electrodes is None else part[stretch.electrodes]
        filled, begin = filled + taken, 0
