"""What trains, or says beforehand what training takes: `demo`, `train`, `benchmark`, `plan`."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from labram_jax.commands.calling import call
from labram_jax.errors import STOPPED, InputError


def demo(arguments: Sequence[str]) -> None:
    def run(out: Path = Path("demo"), short: bool = False, seed: int = 0) -> None:
        """The whole way on simulated recordings: prepare, tokenizer, pretraining, fine-tuning, scores, figures.

        Args:
            out: where everything goes; a demo that was stopped goes on there.
            short: a few steps of each stage, to see that everything runs.
            seed: of the recordings and the training.
        """
        importlib.import_module("labram_jax.demo").run(out, short=short, seed=seed)

    call(run, "demo", arguments)


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

    return call(run, f"train {name}", rest, description=f"Train as {name} says, with overrides.")


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

        return call(chosen, f"benchmark {name}", rest, description=f"{protocol.title}; {protocol.split}.")

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

    call(run, f"plan {name}", rest)
