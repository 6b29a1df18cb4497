"""Reads stretches of stored signal: the records of one montage, at random."""

import math
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader
from jaxtyping import Bool, Float, Int64
from tensorflow_datasets.proto import tf_example_pb2

from labram_jax.data.schema import RECORD_SAMPLES
from labram_jax.errors import InputError

_FILES_AT_A_TIME = 8
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

    electrodes, dtype: of the samples of a record. Files open when first read, and several are read at once.
    """

    def __init__(self, shards: Sequence[Path], lengths: Sequence[int], electrodes: int, dtype: str):
        self._shards, self._lengths, self._electrodes = tuple(shards), tuple(lengths), electrodes
        self.dtype = np.dtype(dtype)
        self._marker = _marker(electrodes * RECORD_SAMPLES * self.dtype.itemsize)
        self._ends = np.cumsum(lengths, dtype=np.int64)
        self._readers: dict[int, ArrayRecordReader] = {}
        self._threads = ThreadPoolExecutor(_FILES_AT_A_TIME)  # none starts before it is needed
        self._lock = threading.Lock()

    def __reduce__(self):
        # Open files and threads do not travel to another process.
        return Signal, (self._shards, self._lengths, self._electrodes, str(self.dtype))

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, stretches: Sequence[Stretch]) -> None:
        """Fills the `out` of all stretches; every record that they share is read once, and files side by side.

        Raises InputError where a record cannot be read.
        """
        wanted = np.unique(np.concatenate([stretch.records for stretch in stretches]))
        shards = np.searchsorted(self._ends, wanted, side="right")
        own = [(int(shard), wanted[shards == shard]) for shard in np.unique(shards)]
        parts = [self._read(*own[0])] if len(own) == 1 else self._threads.map(lambda pair: self._read(*pair), own)
        decoded = {number: record for part in parts for number, record in part}
        for stretch in stretches:
            _fill(stretch, decoded)

    def _read(self, shard: int, numbers: Int64[np.ndarray, "records"]) -> list[tuple[int, np.ndarray]]:
        first = int(self._ends[shard]) - self._lengths[shard]
        try:
            records = self._reader(shard).read((numbers - first).tolist())
            return [(number, self._decode(record)) for number, record in zip(numbers.tolist(), records, strict=True)]
        except (RuntimeError, ValueError, IndexError) as error:
            raise InputError(
                f"{self._shards[shard]} cannot be read, so it is damaged: copy or prepare the corpus again."
            ) from error

    def _reader(self, shard: int) -> ArrayRecordReader:
        with self._lock:
            if shard not in self._readers:
                self._readers[shard] = ArrayRecordReader(str(self._shards[shard]), options="readahead_buffer_size:0")
            return self._readers[shard]

    def _decode(self, record: bytes) -> Float[np.ndarray, "C samples"]:
        start = record.index(self._marker, 0, _HEAD_BYTES) + len(self._marker)
        shape = (self._electrodes, RECORD_SAMPLES)
        return np.frombuffer(record, self.dtype, math.prod(shape), start).reshape(shape)


def _marker(payload: int) -> bytes:
    """What stands before the samples in a serialized record: parsing it would copy them twice."""
    example = tf_example_pb2.Example()
    example.features.feature["eeg"].bytes_list.value.append(bytes(payload))
    head = example.SerializeToString()[:-payload]
    return head[head.index(b"eeg") :]


def _fill(stretch: Stretch, decoded: dict[int, np.ndarray]) -> None:
    filled, samples = 0, stretch.out.shape[1]
    begin = stretch.start % RECORD_SAMPLES
    for number in stretch.records:
        taken = min(RECORD_SAMPLES - begin, samples - filled)
        part = decoded[number][:, begin : begin + taken]
        stretch.out[:, filled : filled + taken] = part if stretch.electrodes is None else part[stretch.electrodes]
        filled, begin = filled + taken, 0
