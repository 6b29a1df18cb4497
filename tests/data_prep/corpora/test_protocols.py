"""Miniatures laid out as the originals go the whole way: prepared, trained and scored by the protocol of the paper."""

import json

from labram_jax import cli
from labram_jax.data_prep.corpora import tuab, tuev
from labram_jax.data_prep.prepare import prepare

# As the command line takes them: a small model for one short epoch.
SMALL = (
    *("--model.encoder.width", "100", "--model.encoder.depth", "1", "--model.encoder.heads", "5"),
    *("--model.encoder.temporal-channels", "4", "--loop.epochs", "1", "--optimizer.warmup-epochs", "0"),
    *("--data.batch-rows", "4", "--compute.dtype", "float32"),
)


def test_tuab_is_benchmarked_and_the_leak_of_the_official_split_is_told(write_tuh, tmp_path, capsys):
    """Two people train and validate, each with a normal and an abnormal recording: this seed sends both both ways."""
    folder = "tuab/edf/{}/01_tcp_ar/{}_s{}_t000.edf"
    for subject in ("aaaaaaaq", "aaaaaaar"):
        for session, kind in (("001", "normal"), ("002", "abnormal")):
            path = write_tuh(folder.format(f"train/{kind}", subject, session))
    for subject, kind in (("aaaaaaas", "normal"), ("aaaaaaat", "abnormal")):
        write_tuh(folder.format(f"eval/{kind}", subject, "001"))
    options = tuab.Options(split_by="official", fractions=(0.5, 0.5, 0.0), dtype="float32", jobs=1, seed=2)
    prepare("tuab", path.parents[4], tmp_path / "tuab-corpus", options)
    out = tmp_path / "out"
    arguments = ("--corpus", str(tmp_path / "tuab-corpus"), "--seeds", "1", "--out", str(out), *SMALL)
    assert cli.main(["benchmark", "labram-tuab", *arguments]) == 0
    told = capsys.readouterr().out
    found = json.loads((out / "results.json").read_text())
    assert found["folds"]["split"]["tests"] == ["aaaaaaas", "aaaaaaat"]
    assert found["folds"]["split"]["windows"] == 4 and set(found["modes"]["all"]["mean"]) >= {"auroc", "auc_pr"}
    assert found["changed_hyperparameters"]["model.encoder.depth"] == 1
    assert found["folds"]["split"]["validates_and_trains"] == ["aaaaaaaq", "aaaaaaar"]
    assert "the best checkpoint is chosen within subjects: aaaaaaaq, aaaaaaar." in told
    assert "What is published of 409,455 windows is not shown, since this corpus has 12." in told


def test_tuev_is_benchmarked(write_tuh, tmp_path, capsys):
    for name in ("train/aaaaaaar/aaaaaaar_00000001", "train/aaaaaaas/aaaaaaas_00000001", "eval/000/bckg_000_a_"):
        path = write_tuh(f"tuev/edf/{name}.edf", seconds=20.0)
        path.with_suffix(".rec").write_text("0,0.4,1.4,1\n5,4.4,5.4,2\n22,10.0,11.0,6\n3,18.9,19.9,4\n")
    prepare("tuev", path.parents[3], tmp_path / "corpus", tuev.Options(fractions=(0.5, 0.5, 0.0), jobs=1))
    arguments = ("--corpus", str(tmp_path / "corpus"), "--seeds", "1", "--out", str(tmp_path / "out"), *SMALL)
    assert cli.main(["benchmark", "labram-tuev", *arguments]) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert found["folds"]["split"]["windows"] == 4 and found["folds"]["split"]["tests"] == ["000"]
    assert set(found["modes"]["all"]["mean"]) >= set(found["metrics"])
    assert "Cohen's kappa" in capsys.readouterr().out
