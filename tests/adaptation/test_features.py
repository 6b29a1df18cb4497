"""A probe by kept features: the encoder runs once, and nothing else changes."""

import jax
import numpy as np
import pytest
from sentences import refuses
from small_runs import MONTAGES, finetuning_config, small_encoder, write_corpus

from labram_jax.adaptation.features import FrozenFeatures, outputs_of
from labram_jax.checkpoints.models import load_model, read_meta
from labram_jax.config import ClassifierConfig, replace
from labram_jax.data.corpus import Corpus
from labram_jax.data.reader import open_corpora
from labram_jax.evaluation.predict import predictions, probe_predictions
from labram_jax.parallel.sharding import make_mesh
from labram_jax.runs import train

EVERYTHING = ClassifierConfig(small_encoder(), pooling="electrodes", amplitude=True, filters=True)


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Corpus:
    """Of two montages; whoever keeps something beside it changes nothing for other tests."""
    splits = {"train": 24, "validation": 12, "test": 12}
    return write_corpus(tmp_path_factory.mktemp("corpora") / "own", MONTAGES, splits)


@pytest.fixture
def read(monkeypatch) -> list:
    """The corpora that an encoder ran over."""
    found, before = [], FrozenFeatures._read

    def counted(self, windows, rows):
        found.append(windows.corpus.name)
        return before(self, windows, rows)

    monkeypatch.setattr(FrozenFeatures, "_read", counted)
    return found


def config_of(run, corpora, encoder="", **changes):
    paths = [corpus.path for corpus in corpora]
    options = {"trainable": "probe", "penalties": (0.01, 1.0), "select_by": "loss", "model": EVERYTHING}
    options |= {"kept_features": "auto"} | changes
    return finetuning_config(run, paths, encoder, **options)


def test_other_seeds_splits_and_runs_use_what_one_has_read(own, pretraining_run, tmp_path, read):
    """To the bit: scores, the fitted head, and what a run that keeps nothing gives."""
    results = [train(config_of(tmp_path / "first", [own], pretraining_run))]
    results.append(train(config_of(tmp_path / "seed", [own], pretraining_run, **{"loop.seed": 7})))
    assert read == ["own"] and len(list((own.path / "features").glob("*/features.json"))) == 1
    results.append(train(config_of(tmp_path / "never", [own], pretraining_run, kept_features="never")))
    assert read == ["own"] * 2
    assert all(
        result.test and (result.validation, result.test) == (results[0].validation, results[0].test)
        for result in results
    )
    found = [read_meta(tmp_path / name / "checkpoints" / "1")["digests"] for name in ("first", "seed", "never")]
    assert found[0] == found[1] == found[2]
    fold = {"data.validation_subjects": ("train0",), "data.test_subjects": ("train1", "test0"), "loop.seed": 3}
    config = config_of(tmp_path / "fold", [own], pretraining_run, **fold)
    scores = train(config).test
    assert read == ["own"] * 2
    # Those of the whole model on the same windows, but for rounding.
    (corpus,) = open_corpora(config.data)
    windows = corpus.windows("test", 2)
    variables = load_model(tmp_path / "fold")[0]
    table = probe_predictions(config, variables, windows)
    assert read == ["own"] * 2
    others = predictions(config, variables, [windows])
    assert table.stands_on(others) and table.scores().values["auroc"] == pytest.approx(scores["auroc"])
    np.testing.assert_allclose(table.outputs, others.outputs, atol=2e-6)
    diverged = jax.tree.map(lambda leaf: leaf * np.float32("nan"), variables["params"])
    with refuses("features of some windows are not finite"):
        FrozenFeatures(config, make_mesh(config.mesh), diverged, [own], print)
    assert len(list((own.path / "features").glob("*/"))) == 1


def test_another_readout_encoder_or_type_is_read_anew(own, pretraining_run, tmp_path, read, monkeypatch):
    config, told = config_of(tmp_path, [own], pretraining_run), []
    params = {name: load_model(pretraining_run)[0]["params"][name] for name in ("encoder", "norm")}

    def nothing(self, windows, rows):
        """What an encoder reads, in no time."""
        read.append(windows.corpus.name)
        shapes = {"pooled": (len(rows), 100) if self.config.model.pooling == "electrodes" else (100,)}
        shapes |= {"present": (len(rows),), "amplitude": (len(rows),), "filters": (len(rows), 12)}
        yield np.arange(len(windows)), {name: np.zeros((len(windows), *shape)) for name, shape in shapes.items()}

    monkeypatch.setattr(FrozenFeatures, "_read", nothing)

    def features(params=params, **changes) -> int:
        """How often the encoder ran for them."""
        read.clear()
        FrozenFeatures(replace(config, **changes), make_mesh(config.mesh), params, [own], told.append)
        return len(read)

    assert features() == 1
    assert features() == features(**{"model.encoder.drop_path": 0.5, "loop.seed": 9, "model.outputs": 1}) == 0
    for changes in (
        {"model.pooling": "mean"},
        {"model.amplitude": False},
        {"model.filters": False},
        {"compute.dtype": "bfloat16"},
    ):
        assert features(**changes) == 1
    assert features(jax.tree.map(lambda leaf: leaf * np.float32(1.01), params)) == 1


def test_corpora_of_other_electrodes_stand_together(own, pretraining_run, tmp_path):
    """Each in the columns of its electrodes, and heads of them give what the model gives."""
    other = write_corpus(tmp_path / "other", (("FZ", "O1"),), {"train": 6, "validation": 6, "test": 6})
    config = config_of(tmp_path / "run", [own, other], pretraining_run)
    train(config)
    variables, windows = load_model(tmp_path / "run")[0], [corpus.windows("test", 2) for corpus in (own, other)]
    frozen = FrozenFeatures(config, make_mesh(config.mesh), variables["params"], [own, other], print)
    features = frozen.labelled("test")
    pooled, amplitude, _ = features.blocks
    assert pooled.values.shape[:2] == (len(features.labels), len(frozen.rows)) == amplitude.present.shape
    electrodes = [len(one.electrodes) for each in windows for montage in each.montages for one in montage]
    assert amplitude.present.sum(axis=1).tolist() == electrodes and {*electrodes} == {2, 3, 4}
    assert not pooled.values[~amplitude.present].any() and frozen.labelled("") is None
    logits = outputs_of(config, variables["params"], frozen.blocks(windows), frozen.rows)
    expected = predictions(config, variables, windows).outputs[:, 1]
    np.testing.assert_allclose(1 / (1 + np.exp(-logits[:, 0].astype(float))), expected, atol=2e-6)
