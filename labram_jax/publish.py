"""A model put on the Hub, with a card that tells what it is, whom it saw, its scores, its digests and its licence."""

import hashlib
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from labram_jax.checkpoints.files import CONFIG, INPUTS
from labram_jax.checkpoints.ledger import Ledger
from labram_jax.checkpoints.models import find_model, read_meta, save_model
from labram_jax.config import ModelConfig, size_of
from labram_jax.configfile import to_dict
from labram_jax.convert.exporting import check_holdable, write_official
from labram_jax.convert.source import is_foreign
from labram_jax.convert.weight_files import WEIGHT_FILES
from labram_jax.errors import InputError, first_words
from labram_jax.inspect import model_lines, what
from labram_jax.obtain import located
from labram_jax.reporting.runlog import Run
from labram_jax.tables import as_markdown, markdown_table, score_rows
from labram_jax.weights import read_ledger, read_model

CARD = "README.md"
# How licences are named in a card.
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]*")


def push(source: str | Path, repo: str, *, licence: str, private: bool = True) -> str:
    """Puts a model on the Hub, with its card, as one commit; returns its address.

    Where official names can hold the model it goes as model.safetensors under them, which PyTorch reads too, and
    otherwise as an exported model of this project. No path of this machine and no name of a subject goes along.

    Args:
        source: a run (its best checkpoint), a checkpoint, an exported model, or a file of PyTorch.
        repo: OWNER/NAME, which is made if it is not there.
        licence: of the weights, as the Hub names it: mit, apache-2.0, cc-by-4.0, other, ...
        private: whether a repository that is made is seen by its owner alone.

    Raises:
        InputError: there is no such model, or the Hub takes nothing from whoever is logged in.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise InputError(f"{repo} is no repository of the Hub: give OWNER/NAME.")
    if not _LICENCE.fullmatch(licence):
        raise InputError(f"{licence!r} is no licence as the Hub names them: give mit, cc-by-4.0 or another.")
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise InputError("push needs huggingface_hub: install it with `pip install 'labram-jax[hub]'`.") from error
    api = HfApi()
    with tempfile.TemporaryDirectory() as folder:
        export = Path(folder) / "model"
        write_export(located(source), export, repo, licence)
        try:
            api.create_repo(repo, private=private, exist_ok=True)
            api.upload_folder(repo_id=repo, folder_path=export, commit_message="Model and card, by labram-jax push")
        except Exception as error:  # whatever the library that it speaks to the network with raises
            raise InputError(
                f"The Hub did not take {repo} ({first_words(error)}): log in with `hf auth login` as someone who may "
                "write there."
            ) from error
    return f"hf://{repo}"


def write_export(source: Path, export: Path, repo: str, licence: str) -> None:
    """Writes a new folder with the model of `source` and its card."""
    variables, config = read_model(source)
    seen = read_ledger(source)
    # Where files lay is nobody's business elsewhere.
    plain = {name: tuple(Path(path).name for path in getattr(seen, name)) for name in ("elsewhere", "silent")}
    seen = replace(seen, **plain)
    try:
        check_holdable(config)
    except InputError:
        save_model(export, variables, to_dict(config), seen)
    else:
        export.mkdir()
        write_official(export / WEIGHT_FILES[0], variables, config, seen.plain())
    meta, scores = {}, {}
    if not is_foreign(source):
        meta = read_meta(find_model(source))
        scores = Run.open(source).scores if (source / CONFIG).is_file() else {}
    text = card(repo, licence, config, seen, meta, scores, _digests(export))
    (export / CARD).write_text(text, encoding="utf-8")


def _digests(export: Path) -> dict[str, str]:
    """The sha256 of every file, by its path below the folder."""
    found = {}
    for path in sorted(path for path in export.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            found[path.relative_to(export).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def card(
    repo: str,
    licence: str,
    config: ModelConfig,
    seen: Ledger,
    meta: Mapping[str, Any],
    scores: Mapping[str, Mapping[str, Mapping[str, float]]],
    digests: Mapping[str, str],
) -> str:
    """The text of a model's card, in Markdown.

    Args:
        repo: OWNER/NAME.
        licence: as the Hub names it.
        config: of the model.
        seen: the ledger of whom the model saw.
        meta: that of its checkpoint, which may tell a validation's metrics and what the run was made from.
        scores: {split: {column: {metric: value}}} as an evaluation left them.
        digests: of its files.
    """
    size = size_of(config.encoder)
    parts = [
        f"---\nlicense: {licence}\nlibrary_name: labram-jax\ntags:\n- eeg\n- labram\n- jax\n---\n",
        f"# {repo.partition('/')[2]}\n",
        f"LaBraM{f' ({size})' if size else ''}: {what(config)}, trained with labram-jax.\n",
        _listed(model_lines(config)),
        "## Use\n\nWindows are EEG in microvolts, whatever their rate and electrodes.\n",
        f'```python\nimport labram_jax\n\nmodel = labram_jax.load("hf://{repo}")\n```\n',
    ]
    if WEIGHT_FILES[0] in digests:
        parts.append(f"`{WEIGHT_FILES[0]}` has the tensor names of the official PyTorch code.\n")
    parts += ["## Data\n", _listed(seen.told() or ["nothing is recorded"]), _made_from(meta), "## Scores\n"]
    parts += _scores(meta, scores)
    parts += ["## Digests\n", markdown_table(["file", "sha256"], list(digests.items())) + "\n"]
    parts += ["## Licence\n", f"The weights: {licence}. LaBraM is by Jiang et al. (ICLR 2024, arXiv 2405.18765).\n"]
    return "\n".join(part for part in parts if part)


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {as_markdown(line)}" for line in lines) + "\n"


def _made_from(meta: Mapping[str, Any]) -> str:
    """Digests of what the run was made from, where its checkpoint tells them."""
    rows = []
    for name, value in meta.get(INPUTS, {}).items():
        own = value if isinstance(value, list) else [value]
        rows += [[name.removeprefix("data."), str(digest)] for digest in own]
    return markdown_table(["made from", "digest"], rows) + "\n" if rows else ""


def _scores(meta: Mapping[str, Any], scores: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    """Tables of an evaluation, or what the validation of the checkpoint gave."""
    found = [f"On the {split} split:\n\n{markdown_table(*score_rows(own))}\n" for split, own in scores.items()]
    if not found and meta.get("metrics"):
        told = ", ".join(f"{name} {value:.4g}" for name, value in meta["metrics"].items())
        found = [f"Of the validation that chose this checkpoint: {as_markdown(told)}.\n"]
    return found or ["None are recorded.\n"]
