"""What became of every tensor of a source and of every parameter of the model."""

from collections.abc import Sequence
from dataclasses import dataclass

from labram_jax.errors import InputError


@dataclass(frozen=True)
class TensorLine:
    """One tensor of the source: the parameter that took it, or the reason why none did.

    `expected`: whether it is one that the official code itself never uses.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    parameter: str | None
    reason: str = ""
    expected: bool = True


@dataclass(frozen=True)
class ParameterLine:
    """One parameter of the model: from how many tensors it was filled, what of it is fresh, or how else it was made."""

    path: str
    shape: tuple[int, ...]
    tensors: int
    fresh: str = ""
    made: str = ""


@dataclass(frozen=True)
class ConversionReport:
    """Everything that was taken, left and started afresh; `facts` say what the model is.

    `cautions`: what was assumed, and what else its user must know; `notes`: what they may.
    """

    title: str
    facts: tuple[str, ...]
    tensors: tuple[TensorLine, ...]
    parameters: tuple[ParameterLine, ...]
    cautions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def imported(self) -> tuple[TensorLine, ...]:
        return tuple(line for line in self.tensors if line.parameter is not None)

    @property
    def left_out(self) -> tuple[TensorLine, ...]:
        return tuple(line for line in self.tensors if line.parameter is None)

    @property
    def fresh(self) -> tuple[ParameterLine, ...]:
        return tuple(line for line in self.parameters if line.fresh)

    @property
    def left_over(self) -> tuple[str, ...]:
        """Names of tensors that were left out and are not known to be unused."""
        return tuple(line.name for line in self.left_out if not line.expected)

    def warning(self) -> str:
        """What may make the model another one than its source, in one line; empty where nothing may."""
        found = list(self.cautions)
        if self.left_over:
            found.append(f"nothing takes {_some(self.left_over)}")
        if self.fresh:
            found.append(_some([f"{line.path} {line.fresh}" for line in self.fresh]))
        return f"{self.title}: {'; '.join(found)}" if found else ""

    def check_strict(self) -> None:
        """Raises InputError if a tensor was left out that is not known to be unused, or a parameter starts afresh."""
        if self.left_over:
            raise InputError(
                f"{self.title}, but nothing takes {_some(self.left_over)}: leave --strict out to do without."
            )
        if self.fresh:
            started = _some([line.path for line in self.fresh])
            raise InputError(
                f"{self.title}, but it has nothing for {started}: leave --strict out to start that afresh."
            )

    def summary(self) -> str:
        """What the source is, and how much of it was taken."""
        lines = [self.title, *(f"  {fact}" for fact in self.facts), *(f"  {caution}" for caution in self.cautions)]
        lines.append(
            f"  {len(self.imported)} of {len(self.tensors)} tensors imported, {len(self.left_out)} left out; "
            f"{len(self.parameters) - len(self.fresh)} of {len(self.parameters)} parameters filled, "
            f"{len(self.fresh)} with a fresh start"
        )
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    def text(self) -> str:
        """The summary, every tensor and every parameter, a line each."""
        lines = [self.summary(), "tensors of the source"]
        for line in self.tensors:
            fate = f"-> {line.parameter}" if line.parameter else f"left out: {line.reason}"
            lines.append(f"  {line.name} [{_shape(line.shape)}] {line.dtype} {fate}")
        lines.append("parameters of the model")
        for line in self.parameters:
            origin = f"filled from {line.tensors} tensor{'s' * (line.tensors != 1)}"
            lines.append(f"  {line.path} [{_shape(line.shape)}] {line.fresh or line.made or origin}")
        return "\n".join(lines)


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "scalar"


def _some(names: Sequence[str], count: int = 3) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
