"""The runs of a protocol as benchmarks of them start: what is asked for on the command line, and its `Benchmark`."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from labram_jax.benchmark.command import BenchmarkOptions, Start
from labram_jax.benchmark.running import Benchmark
from labram_jax.config import replace
from labram_jax.configfile import load_protocol
from labram_jax.runs import keep_compiled


@dataclass(frozen=True)
class Asked:
    """Whose runs are measured, and where they go."""

    protocol: tyro.conf.Positional[str]
    checkpoint: str
    corpus: str
    out: Path

    def benchmark(self, mode: str, **changes) -> Benchmark:
        """All runs of a mode, with other hyperparameters than the protocol's; what they compile is kept on disk."""
        keep_compiled()
        protocol = load_protocol(self.protocol)
        start = Start.read(protocol, BenchmarkOptions(self.corpus, self.checkpoint, (mode,)))
        config, _ = start.recipe(protocol)
        return Benchmark(start.corpus, replace(config, **changes), start.checkpoints, start.folds, self.out)
