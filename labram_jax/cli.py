"""The command line: `labram-jax COMMAND ...`. A room is imported only when its command runs."""

import importlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal, NoReturn, TypeVar

import tyro
from tyro.conf import Positional

from labram_jax.errors import INTERRUPTED, MAY_PASS, MISTAKE, STOPPED, InputError, exit_code, sentence_of

T = TypeVar("T")
LEAVE_SECONDS = 5.0

USAGE = """usage: labram-jax COMMAND ...

  demo [--out DIR]                      from recordings to scores, on simulated ones
  prepare CORPUS SOURCE OUT             recordings to a corpus on disk
  train CONFIG [--dotted.override V]    train a stage: tokenizer, pretraining or fine-tuning
  tokenize TOKENIZER CORPUS             codes of all windows, kept beside the corpus for pretraining
  evaluate CHECKPOINT CORPUS            scores on a split
  predict CHECKPOINT CORPUS OUT         predictions for all windows, as one table
  benchmark PROTOCOL --corpus DIR       all folds and seeds of a benchmark, beside what is published
  embed CHECKPOINT SOURCE OUT           features of a corpus or a recording, to .npz
  convert SOURCE DEST                   PyTorch, safetensors and braindecode to JAX and back
  plan CONFIG [--topology v5e:16x16]    compile for devices without having them: memory, step time, levers
  inspect PATH                          what a recording, corpus or checkpoint holds
  report RUN                            figures and tables of a run

`labram-jax COMMAND --help` tells more."""


def demo(arguments: Sequence[str]) -> None:
    def run(out: Path = Path("demo"), short: bool = False, seed: int = 0) -> None:
        """The whole way on simulated recordings: prepare, tokenizer, pretraining, fine-tuning, scores, figures.

        Args:
            out: where everything goes; a demo that was stopped goes on there.
            short: a few steps of each stage, to see that everything runs.
            seed: of the recordings and the training.
        """
        importlib.import_module("labram_jax.demo").run(out, short=short, seed=seed)

    _call(run, "demo", arguments)


def prepare(arguments: Sequence[str]) -> int | None:
    corpora = importlib.import_module("data_prep.corpora")
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_corpora(corpora))
        if arguments:
            raise SystemExit(0)
        return 2
    corpus, *rest = arguments
    module = corpora.corpus_module(corpus)
    # What follows --beam is Beam's own, which tyro could not tell from ours.
    end = rest.index("--beam") if "--beam" in rest else len(rest)
    beam = {"beam": tuple(rest[end + 1 :])} if end < len(rest) else {}

    def run(
        source: Annotated[Positional[str], tyro.conf.arg(metavar="SOURCE", help=f"{module.SOURCE}.")],
        out: Annotated[Positional[Path], tyro.conf.arg(metavar="OUT", help="the corpus' folder, which is made.")],
        options: Annotated[module.Options, tyro.conf.arg(name="")] = module.Options(),
    ) -> None:
        from data_prep.prepare import prepare

        print(prepare(corpus, None if source == "-" else Path(source), out, replace(options, **beam)))

    _call(run, f"prepare {corpus}", rest[:end], description=module.__doc__)


def _corpora(corpora: ModuleType) -> str:
    """One line for each corpus: the first of its module's docstring."""
    titles = {name: corpora.corpus_module(name).__doc__.partition("\n")[0] for name in corpora.MODULES}
    return "\n".join(
        (
            "usage: labram-jax prepare CORPUS SOURCE OUT [options]\n\nMake a corpus from recordings.\n",
            *(f"  {name:<18}{title}" for name, title in titles.items()),
            "\n`labram-jax prepare CORPUS --help` tells its options.",
        )
    )


def train(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0].startswith("-"):
        raise InputError(
            "Say which configuration to train: labram-jax train CONFIG [--dotted.override VALUE ...], where CONFIG is "
            "a .py file or the name of one in configs/; labram-jax train CONFIG --help lists what can be overridden."
        )
    from labram_jax.configfile import load_file

    name, *rest = arguments
    default = load_file(name)

    def run(
        config: Annotated[type(default), tyro.conf.arg(name="")] = default,
        tensorboard: bool = False,
        wandb: bool = False,
        profile: int = 0,
        branch_from: str = "",
    ) -> int:
        """Train a stage.

        Args:
            config: what and how.
            tensorboard: also write TensorBoard events to RUN/tensorboard.
            wandb: also write to Weights & Biases.
            profile: trace this many steps, after the first ones, into RUN/profile.
            branch_from: RUN@STEP, a checkpoint of another run (RUN alone: its latest) with whose parameters, codebook,
                moments and place in the data this one begins, where it has no checkpoint yet, and goes on by its own
                recipe; that run is not changed.
        """
        from labram_jax.parallel import processes
        from labram_jax.runs import keep_compiled
        from labram_jax.runs import train as start

        if profile < 0:
            raise InputError(f"--profile {profile} must be a number of steps.")
        keep_compiled()
        with processes.joined():
            result = start(config, tensorboard=tensorboard, wandb=wandb, profile=profile, branch_from=branch_from)
            if processes.is_first():
                if (best := result.best) is not None:
                    print(f"best {best['metric']} {best['value']:.4f} on validation at step {best['step']}")
                print(f"run {config.run}: {'complete' if result.finished else 'stopped'} at step {result.step}")
        return 0 if result.finished else STOPPED

    return _call(run, f"train {name}", rest, description=f"Train as {name} says, with overrides.")


def tokenize(arguments: Sequence[str]) -> None:
    def run(
        tokenizer: Positional[str],
        corpus: Positional[str],
        window_seconds: int | None = None,
        stride_seconds: float | None = None,
        dtype: Literal["float32", "bfloat16"] = "float32",
    ) -> None:
        """Keep the codes of all windows of a corpus beside it, so that pretraining need not label them at every step.

        Pretraining with this tokenizer, these windows and this compute.dtype finds them by itself. A call that was
        stopped goes on where it was.

        Args:
            tokenizer: a run (its best checkpoint), a checkpoint, an exported model, or a file of PyTorch.
            corpus: a corpus made by `labram-jax prepare`.
            window_seconds: data.window_seconds of the pretraining; by default the window of the corpus' protocol, or
                that which makes about 256 patches.
            stride_seconds: data.stride_seconds of the pretraining; by default the window's length.
            dtype: compute.dtype of the pretraining.
        """
        from labram_jax.evaluation.tokenize import tokenize as keep
        from labram_jax.parallel import processes

        with processes.joined():
            print(keep(tokenizer, corpus, window_seconds, stride_seconds, dtype))

    _call(run, "tokenize", arguments)


def evaluate(arguments: Sequence[str]) -> None:
    def run(
        checkpoint: Positional[Path],
        corpus: Positional[str],
        also: tuple[Path, ...] = (),
        split: Literal["train", "validation", "test"] = "test",
        baseline: bool = True,
        window_seconds: int | None = None,
        stride_seconds: float | None = None,
    ) -> None:
        """Score a model on a split of a corpus, beside what is reached without it.

        Classifiers are scored per window, per recording and per subject, with 95 % intervals over subjects, beside a
        band-power regression and chance; their predictions are left in the run as one table (.npz and .csv).

        Args:
            checkpoint: a run (its best checkpoint), a checkpoint, or an exported model.
            corpus: a corpus made by `labram-jax prepare`, or its address in a bucket.
            also: runs that differ in their seed alone; scores become mean and standard deviation.
            split: which windows.
            baseline: also fit a band-power regression to the corpus' training split (classifiers).
            window_seconds: length of the windows in whole seconds, 1 to 16; by default as the model was trained.
            stride_seconds: from the start of one window to the next; by default as the model was trained, or the
                window's length where that is given.
        """
        from labram_jax.evaluation.evaluate import evaluate_seeds
        from labram_jax.runs import keep_compiled

        keep_compiled()
        print(evaluate_seeds([checkpoint, *also], corpus, split, baseline, window_seconds, stride_seconds))

    _call(run, "evaluate", arguments)


def predict(arguments: Sequence[str]) -> None:
    def run(
        checkpoint: Positional[Path],
        corpus: Positional[str],
        out: Positional[Path],
        window_seconds: int | None = None,
        stride_seconds: float | None = None,
    ) -> None:
        """Write a classifier's predictions for all windows of a corpus as one table, with or without labels.

        A line a window: corpus, split, recording, subject, start, label, and the probability of each class.

        Args:
            checkpoint: a run (its best checkpoint), a checkpoint, or an exported model.
            corpus: a corpus made by `labram-jax prepare`, or its address in a bucket.
            out: the .npz file to write, one array a column; a .csv file of the same name is written beside it.
            window_seconds: length of the windows in whole seconds, 1 to 16; by default as the model was trained.
            stride_seconds: from the start of one window to the next; by default as the model was trained, or the
                window's length where that is given.
        """
        from labram_jax.evaluation.predict import predict
        from labram_jax.runs import keep_compiled

        keep_compiled()
        print(predict(checkpoint, corpus, out, window_seconds, stride_seconds))

    _call(run, "predict", arguments)


def benchmark(arguments: Sequence[str]) -> int:
    from labram_jax.configfile import load_protocol, protocols

    if not arguments or arguments[0].startswith("-"):
        raise InputError(
            "Say which benchmark to run: labram-jax benchmark PROTOCOL --corpus DIR [--checkpoint C] [--mode M ...], "
            f"where PROTOCOL is a .py file or one of {', '.join(own.name for own in protocols())}."
        )
    name, *rest = arguments
    protocol = load_protocol(name)
    command = importlib.import_module("labram_jax.benchmark.command")

    def parsed(default: object) -> tuple:
        def chosen(
            options: Annotated[command.BenchmarkOptions, tyro.conf.arg(name="")],
            config: Annotated[type(default), tyro.conf.arg(name="")] = default,
        ) -> tuple:
            return options, config

        return _call(chosen, f"benchmark {name}", rest, description=f"{protocol.title}; {protocol.split}.")

    # The model decides which hyperparameters the changes are changes of.
    options, _ = parsed(protocol.finetuning["base"])
    start = command.Start.read(protocol, options)
    options, config = parsed(start.recipe(protocol)[0])
    from labram_jax.runs import keep_compiled

    keep_compiled()
    found = command.run(protocol, config, start, options)
    if found is None:
        print("stopped: the same command goes on where it was")
        return STOPPED
    print(f"\n{found}")
    return 0


def embed(arguments: Sequence[str]) -> None:
    def run(
        checkpoint: Positional[Path],
        source: Positional[Path],
        out: Positional[Path],
        pool: Literal["mean", "class_token", "none"] = "mean",
        window_seconds: int | None = None,
        stride_seconds: float | None = None,
        notch: float | None = 50.0,
    ) -> None:
        """Write features of a corpus or a recording to a .npz file (of a tokenizer: codes).

        Args:
            checkpoint: a run (its best checkpoint), a checkpoint, or an exported model.
            source: a corpus, or one recording in any format that MNE reads.
            out: the file to write.
            pool: one vector a window (mean, class_token), or one a patch (none).
            window_seconds: length of the windows in whole seconds, 1 to 16; by default that of the corpus' protocol, or
                that which makes about 256 patches.
            stride_seconds: from the start of one window to the next; by default the window's length.
            notch: mains frequency to take out of a recording in Hz, or None.
        """
        from labram_jax.evaluation.embed import embed
        from labram_jax.runs import keep_compiled

        keep_compiled()
        shapes = embed(
            checkpoint,
            source,
            out,
            pool=pool,
            window_seconds=window_seconds,
            stride_seconds=stride_seconds,
            notch=notch,
        )
        for name, shape in shapes.items():
            print(f"{name}: {' x '.join(map(str, shape))}")
        print(f"written to {out}")

    _call(run, "embed", arguments)


def convert(arguments: Sequence[str]) -> None:
    def run(
        source: Positional[Path],
        dest: Positional[Path],
        to: Literal["auto", "jax", "official", "braindecode"] = "auto",
        strict: bool = False,
        weights: str | None = None,
        seconds: int = 15,
        pooling: Literal["mean", "class_token"] = "mean",
    ) -> None:
        """Carry a model from PyTorch, safetensors or braindecode to JAX, or back, and list what became of each tensor.

        Args:
            source: a .pth or .safetensors file, a folder of braindecode, a run, a checkpoint, or an exported model.
            dest: what to write; it must not exist yet.
            to: the form; auto is official names where DEST ends with .safetensors, and jax otherwise.
            strict: refuse a source with tensors left over, but for those that the official code itself never uses, or
                that lacks a parameter of the model.
            weights: the entry of a .pth checkpoint to take, such as model_ema; by default the model itself.
            seconds: length of the windows of a braindecode model (1 to 16), which it fixes.
            pooling: how a braindecode model without a head makes one feature of a window.
        """
        from labram_jax.weights import convert

        print(convert(source, dest, to, strict=strict, weights=weights, seconds=seconds, pooling=pooling))

    _call(run, "convert", arguments)


def plan(arguments: Sequence[str]) -> None:
    if not arguments or arguments[0].startswith("-"):
        raise InputError(
            "Say which configuration to plan: labram-jax plan CONFIG [--topology v5e:16x16] [--dotted.override VALUE "
            "...], where CONFIG is a .py file or the name of one in configs/."
        )
    from labram_jax.configfile import load_file

    name, *rest = arguments
    default = load_file(name)
    command = importlib.import_module("labram_jax.plan.command")

    def run(
        options: Annotated[command.PlanOptions, tyro.conf.arg(name="")] = command.PlanOptions(),
        config: Annotated[type(default), tyro.conf.arg(name="")] = default,
    ) -> None:
        """Compile training and evaluation for devices that need not be there; tell memory, time, limits and levers."""
        print(command.run(config, options))

    _call(run, f"plan {name}", rest)


def inspect(arguments: Sequence[str]) -> None:
    def run(path: Positional[Path]) -> None:
        """Tell what a recording, a corpus, a run, a checkpoint or an exported model holds."""
        from labram_jax.inspect import inspect

        print(inspect(path))

    _call(run, "inspect", arguments)


def report(arguments: Sequence[str]) -> None:
    def run(run: Positional[Path]) -> None:
        """Draw the figures and tables of a run.

        Args:
            run: a run's directory.
        """
        from labram_jax.reporting.report import write_report

        print(f"report written to {write_report(run)}")

    _call(run, "report", arguments)


def _call(function: Callable[..., T], name: str, arguments: Sequence[str], description: str | None = None) -> T:
    return tyro.cli(function, args=list(arguments), prog=f"labram-jax {name}", description=description)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0 if it went well, or one of `labram_jax.errors` with one sentence."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    commands = (demo, prepare, train, tokenize, evaluate, predict, benchmark, embed, convert, plan, inspect, report)
    commands = {command.__name__: command for command in commands}
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else MISTAKE
    name, *rest = arguments
    try:
        if name not in commands:
            raise InputError(f"There is no command {name!r}; choose one of {', '.join(commands)}.")
        return commands[name](rest) or 0
    except InputError as error:
        print(f"labram-jax: {error}", file=sys.stderr)
        return exit_code(error)
    except OSError as error:
        print(f"labram-jax: {sentence_of(error)}", file=sys.stderr)
        return exit_code(error)
    except KeyboardInterrupt:
        print("labram-jax: interrupted", file=sys.stderr)
        return INTERRUPTED


def program(function: Callable[[], int] = main) -> NoReturn:
    """`main` as a program of its own.

    After a failure it ends within seconds and says no more, whatever else runs: the threads of a saver may wait for a
    dead disk forever, and what they leave unfinished complains by the page while the interpreter ends.
    """
    try:
        code = function()
    except SystemExit:
        raise
    except BaseException:
        traceback.print_exc()
        code = MAY_PASS
    if code not in (0, STOPPED):
        sys.stdout.flush()
        sys.stderr.flush()
        deadline = time.monotonic() + LEAVE_SECONDS
        others = [t for t in threading.enumerate() if t is not threading.current_thread() and not t.daemon]
        while any(thread.is_alive() for thread in others) and time.monotonic() < deadline:
            time.sleep(0.05)
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    program()
