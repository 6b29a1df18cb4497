"""What a path holds, told to a person."""

import pytest
from sentences import refuses

from labram_jax.data.describe import describe
from labram_jax.inspect import inspect


def test_a_corpus(corpus):
    text = inspect(corpus.path)
    assert text == describe(corpus)
    assert "labels: class (slow, middle)" in text
    assert "montage 4ch: 4 electrodes, 0.05 h" in text
    assert "FP1 FP2 O1 O2" in text and "144 windows of 2 s" in text


@pytest.mark.parametrize(
    ("run", "lines"),
    [
        ("tokenizer_run", ["a tokenizer", "decoder: 1 blocks", "codebook: 16 codes of 8", "stage tokenizer, seed 1"]),
        ("pretraining_run", ["a pretrained encoder", "encoder: 2 blocks, width 100, 5 heads", "predicts 16 codes"]),
        ("classifier_run", ["a classifier", "1 output(s) (slow, middle), pooling by mean", "validation: ", "auroc 1"]),
    ],
)
def test_a_run_and_its_checkpoints(run, lines, request):
    path = request.getfixturevalue(run)
    text = inspect(path)
    for line in lines:
        assert line in text
    assert text.startswith(f"{path}: ") and f"read from {path / 'checkpoints'}" in text and "batches of 4 rows" in text
    checkpoint = next(iter(sorted((path / "checkpoints").glob("[0-9]*"))))
    alone = inspect(checkpoint)
    assert f"after {int(checkpoint.name):,} batches" in alone and "read from" not in alone


def test_an_exported_model_tells_of_no_training(trained_tokenizer, tmp_path):
    trained_tokenizer.save(tmp_path / "exported")
    text = inspect(tmp_path / "exported")
    assert "exported: a tokenizer" in text and "stage" not in text
    numbers = sum(leaf.size for leaf in _leaves(trained_tokenizer.variables["params"]))
    assert f"params {numbers:,} numbers, codebook {16 * 8 + 16} numbers" in text


def test_nothing_and_nothing_known(tmp_path):
    with refuses("There is nothing at .*absent: check the path"):
        inspect(tmp_path / "absent")
    with refuses("is neither a run, nor a checkpoint, nor an exported model"):
        inspect(tmp_path)


def _leaves(tree) -> list:
    return [leaf for part in tree.values() for leaf in _leaves(part)] if isinstance(tree, dict) else [tree]
