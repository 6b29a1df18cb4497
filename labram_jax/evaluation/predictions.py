"""One table of predictions, from which every score derives: a line for each window, whoever predicted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from labram_jax import metrics
from labram_jax.data.schema import NO_CLASS
from labram_jax.data.views import SplitWindows
from labram_jax.errors import DamageError, InputError, refusal_in

# Beside label and outputs: where a window is. `start_seconds` counts from the start of its recording.
PLACES = ("corpus", "split", "recording", "subject", "start_seconds")
UNITS = ("recording", "subject")
_LABEL, _PROBABILITY, _PREDICTION = "label", "probability_", "prediction_"
_MOST_NAMED = 3


@dataclass(frozen=True)
class PredictionTable:
    """What a model, a baseline or chance says of windows (or of recordings, or subjects), beside their labels.

    Attributes:
        frame: `PLACES`; `label`, the index of a class (-1: none), or `label_0`, `label_1`, ... (NaN: none), where
            the corpus has labels; and `probability_CLASS` for every class, or `prediction_0`, `prediction_1`, ...
        task: how it is scored.
    """

    frame: pd.DataFrame
    task: metrics.Task

    @classmethod
    def of(
        cls, places: pd.DataFrame, outputs: Float[np.ndarray, "N outputs"], task: metrics.Task, classes: Sequence[str]
    ) -> "PredictionTable":
        """Puts outputs beside `places` (`listed`): probabilities of class 1 or of all classes, or values.

        `classes` may be empty: classes then go by their index. Raises InputError, which names the windows, where
        outputs are not finite.
        """
        _check_finite(places, outputs)
        if task == "binary":
            outputs = np.concatenate([1 - outputs, outputs], axis=1)
        prefix = _PREDICTION if task == "regression" else _PROBABILITY
        names = classes if classes and task != "regression" else range(outputs.shape[1])
        columns = {f"{prefix}{name}": own for name, own in zip(names, outputs.T, strict=True)}
        return cls(pd.concat([places, pd.DataFrame(columns)], axis=1), task)

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of their index, or of the values of a regressor."""
        return tuple(name.partition("_")[2] for name in self._output_columns)

    @property
    def outputs(self) -> Float[np.ndarray, "N outputs"]:
        """Probabilities of all classes, also where there are two, or predicted values."""
        return self.frame[self._output_columns].to_numpy(np.float64)

    @property
    def labels(self) -> np.ndarray:
        """Class indices [N], or values [N, outputs]; -1 or NaN where there is none."""
        columns = _label_columns(self.frame)
        if self.task == "regression":
            return self.frame[columns].to_numpy() if columns else np.full((len(self), 1), np.nan)
        return self.frame[_LABEL].to_numpy(np.int64) if columns else np.full(len(self), NO_CLASS)

    @property
    def subjects(self) -> np.ndarray:
        """The number of each line's subject: subjects of two corpora are two, whatever their names."""
        return self.frame.groupby(["corpus", "subject"], sort=False).ngroup().to_numpy()

    def with_outputs(self, outputs: Float[np.ndarray, "N outputs"]) -> "PredictionTable":
        """The same lines with other outputs."""
        columns = dict(zip(self._output_columns, outputs.T, strict=True))
        return PredictionTable(self.frame.assign(**columns), self.task)

    def stands_on(self, other: "PredictionTable") -> bool:
        """Whether both have the same lines, in the same order."""
        own, others = (table.frame[list(PLACES)].astype(object).to_numpy() for table in (self, other))
        return own.shape == others.shape and bool((own == others).all())

    def labelled(self) -> "PredictionTable":
        """The lines that have a label; raises InputError where none has."""
        known = np.isfinite(self.labels).all(axis=1) if self.task == "regression" else self.labels != NO_CLASS
        if not known.any():
            splits, corpora = (", ".join(self.frame[name].unique()) for name in ("split", "corpus"))
            raise InputError(f"No window of {corpora} in the split {splits} has a label: choose another split.")
        return PredictionTable(self.frame[known].reset_index(drop=True), self.task)

    def by(self, unit: str) -> "PredictionTable":
        """One line for each recording or subject, with the mean of its windows' outputs.

        Raises InputError where windows of one of them have different labels.
        """
        units, labels = self.frame.groupby(["corpus", unit], sort=False), _label_columns(self.frame)
        mixed = int((units[labels].nunique() > 1).any(axis=1).sum())
        if mixed:
            raise InputError(f"Windows of one {unit} have different labels in {mixed} of {units.ngroups}.")
        numbers, outputs = units.ngroup().to_numpy(), self._output_columns
        frame = self.frame.groupby(numbers).first()
        # About the first one, so that the mean of equal outputs is that output to the last bit: ties stay ties.
        frame[outputs] += (self.frame[outputs] - frame[outputs].to_numpy()[numbers]).groupby(numbers).mean()
        return PredictionTable(frame, self.task)

    def scores(self) -> metrics.Scores:
        """All metrics that the labels define."""
        outputs = self.outputs[:, 1:] if self.task == "binary" else self.outputs
        return metrics.scorer(self.task)(outputs, self.labels)

    def write(self, path: Path) -> None:
        """Writes the columns as arrays to `path`, an .npz file, and as a text table to a .csv file beside it."""
        part = path.with_name(f"{path.name}.part")
        texts = {name: str if name in PLACES[:4] else None for name in self.frame}
        with part.open("wb") as file:
            np.savez(file, task=self.task, **{name: self.frame[name].to_numpy(texts[name]) for name in self.frame})
        part.replace(path)
        self.frame.to_csv(part, index=False)
        part.replace(path.with_suffix(".csv"))

    @classmethod
    def read(cls, path: Path) -> "PredictionTable":
        """Reads what `write` left in an .npz file; raises DamageError for anything else."""
        try:
            with np.load(path) as arrays:
                columns = {name: arrays[name] for name in arrays}
            task = str(columns.pop("task"))
            table = cls(pd.DataFrame(columns), task)
            if task not in metrics.METRICS or not {*PLACES} <= columns.keys() or not len(table.labels):
                raise ValueError("it has other columns")
        except Exception as error:  # NumPy has no one exception for what it cannot open
            if refusal := refusal_in(error):
                raise refusal from error
            reason = " ".join(str(error).split())[:200]
            raise DamageError(f"{path} is damaged ({reason})", "delete it and evaluate the run again") from error
        return table

    @property
    def _output_columns(self) -> list[str]:
        return [name for name in self.frame if name.startswith((_PROBABILITY, _PREDICTION))]


def listed(windows: Sequence[SplitWindows]) -> pd.DataFrame:
    """Returns `PLACES` and labels of all windows, corpus by corpus and montage by montage: the order of window ids.

    Raises InputError where there are none.
    """
    frames = []
    for own in windows:
        for montage in own.montages:
            frame = montage.index.listed()
            frame.insert(0, "corpus", own.corpus.name)
            frame.insert(1, "split", own.split)
            labels = montage.index.window_labels()
            if labels is not None:
                frame[list(own.corpus.info.label_columns)] = labels.reshape(len(frame), -1)
            frames.append(frame)
    if not frames:
        raise InputError(f"There are no windows in the split {', '.join({own.split for own in windows})!r}.")
    return pd.concat(frames, ignore_index=True)


def _label_columns(frame: pd.DataFrame) -> list[str]:
    return [name for name in frame if name.startswith(_LABEL)]


def _check_finite(places: pd.DataFrame, outputs: Float[np.ndarray, "N outputs"]) -> None:
    bad = places[~np.isfinite(outputs).all(axis=1)]
    if not len(bad):
        return
    named = [f"{own.recording!r} of {own.corpus} at {own.start_seconds:g} s" for own in bad.itertuples()]
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    raise InputError(
        f"The predictions of {len(bad)} of {len(places)} windows are not finite, though their EEG is: recording "
        f"{', '.join(named[:_MOST_NAMED])}{more}; use a checkpoint of before the training diverged."
    )
