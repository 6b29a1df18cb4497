"""Miniatures laid out as the originals go the whole way: prepared, trained and scored by the protocol of the paper."""

import json

from data_prep.corpora.tuab import Options
from data_prep.prepare import prepare
from labram_jax import cli

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
    options = Options(split_by="official", fractions=(0.5, 0.5, 0.0), dtype="float32", jobs=1, seed=2)
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
