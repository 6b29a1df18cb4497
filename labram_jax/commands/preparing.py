"""`prepare`: recordings to a corpus."""

import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Annotated

import tyro
from tyro.conf import Positional

from labram_jax.commands.calling import call


def prepare(arguments: Sequence[str]) -> int | None:
    corpora = importlib.import_module("labram_jax.data_prep.corpora")
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
        source: Annotated[Positional[str], tyro.conf.arg(help=f"{module.SOURCE}.")],
        out: Annotated[Positional[Path], tyro.conf.arg(help="the corpus' folder, which is made.")],
        options: Annotated[module.Options, tyro.conf.arg(name="")] = module.Options(),
    ) -> None:
        from labram_jax.data_prep.prepare import prepare

        print(prepare(corpus, None if source == "-" else Path(source), out, replace(options, **beam)))

    call(run, f"prepare {corpus}", rest[:end], description=module.__doc__)


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
