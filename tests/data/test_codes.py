"""Codes that lie beside a corpus: whose they are, and how they come into batches."""

import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_corpora import MadeRecording, make_corpus, without_digests
from sentences import refuses

from labram_jax.config import DataConfig
from labram_jax.data.codes import (
    INFO_FILE,
    CodesInfo,
    KeptCodes,
    codes_file,
    codes_of,
    complete,
    find_codes,
    start_or_continue,
    window_shapes,
)
from labram_jax.data.corpus import Corpus
from labram_jax.data.describe import describe
from labram_jax.data.digest import corpus_digest
from labram_jax.data.reader import BatchReader, codes_for
from labram_jax.data.schema import CODES_FOLDER
from labram_jax.montage import ELECTRODES

TOKENIZER, SECONDS = "t" * 64, 2


def noise_corpus(folder, montages=((3, ()), (5, ("FP1", "FP2"))), seed=0) -> Corpus:
    """Eight training and four validation windows of each montage (electrodes, bad ones)."""
    generator, recordings = np.random.default_rng(seed), []
    for count, bads in montages:
        names = ("FP1", "FP2", *(name for name in ELECTRODES if name not in ("FP1", "FP2")))[:count]
        for split, windows in (("train", 8), ("validation", 4)):
            eeg = generator.normal(scale=30, size=(count, windows * SECONDS * 200)).astype(np.float16)
            name, spans = f"{split}{count}", [(0, windows * SECONDS, split, 0)]
            recordings.append(MadeRecording(name, name, names, eeg, spans, bads=bads))
    return make_corpus(folder, recordings, ("one",))


def keep(corpus: Corpus, tokenizer: str = TOKENIZER, dtype: str = "float32") -> KeptCodes:
    """Leaves codes that tell every patch of every window apart."""
    shapes = window_shapes(corpus, SECONDS, None)
    info = CodesInfo(tokenizer, dtype, corpus_digest(corpus), shapes, {"train": 1000, "validation": 234})
    kept = KeptCodes(corpus.path / CODES_FOLDER / info.name, info)
    folder = start_or_continue(kept)
    for split in corpus.splits:
        for montage in corpus.windows(split, SECONDS).montages:
            shape = (len(montage), len(montage.electrodes), SECONDS)
            np.save(folder / codes_file(split, montage.directory.name), np.arange(np.prod(shape)).reshape(shape))
    complete(kept)
    (found,) = (own for own in codes_of(corpus) if own == kept)
    return found


def reason(corpus: Corpus, tokenizer=TOKENIZER, dtype="float32", seconds=SECONDS, stride=None) -> str:
    found, why = find_codes(corpus, tokenizer, dtype, window_shapes(corpus, seconds, stride))
    assert (found is None) == bool(why)
    return why


def found_in(windows, number: int) -> tuple[str, int, np.ndarray]:
    """The montage's folder of a window, its number there, and its bad electrodes."""
    place = number
    for montage in windows.montages:
        if place < len(montage):
            return str(montage.directory), place, windows[number].bad
        place -= len(montage)
    raise AssertionError(number)


def test_codes_go_to_the_slots_of_their_patches(tmp_path):
    corpora = [noise_corpus(tmp_path / "one"), noise_corpus(tmp_path / "two", ((4, ("FP1",)),), seed=1)]
    data = DataConfig(window_seconds=SECONDS, batch_rows=4, patch_slots=20, segments=3)
    for corpus in corpora:
        keep(corpus)
    kept, why = codes_for(data, corpora, TOKENIZER, "float32")
    assert why is None
    plain = BatchReader(data, corpora, seed=0, masked=True, rows=range(4))
    coded = plain.with_codes(kept)
    windows = {split: [corpus.windows(split, SECONDS) for corpus in corpora] for split in ("train", "validation")}
    seen = set()
    for split, batches in (("train", coded.training(0)), ("validation", coded.split("validation")())):
        for _, batch in zip(range(3), batches, strict=False):
            assert batch["codes"].dtype == np.int32 and not batch["codes"][batch["segment_ids"] == 0].any()
            for row, segment in np.argwhere(batch["window_ids"] >= 0):
                own = windows[split][batch["corpus_ids"][row, segment]]
                montage, place, bad = found_in(own, batch["window_ids"][row, segment])
                expected = (place * bad.size + np.flatnonzero(~bad))[:, None] * SECONDS + np.arange(SECONDS)
                slots = batch["segment_ids"][row] == segment + 1
                np.testing.assert_array_equal(batch["codes"][row, slots], expected.reshape(-1))
                seen.add((split, montage))
    assert len(seen) == 6
    # All else is what it was.
    for with_codes, without in zip(coded.split("validation")(), plain.split("validation")(), strict=True):
        with_codes.pop("codes")
        assert with_codes.keys() == without.keys()
        assert all(np.array_equal(with_codes[name], without[name]) for name in without)


def test_codes_stay_on_disk_when_windows_travel(tmp_path):
    corpus = noise_corpus(tmp_path / "corpus")
    windows = keep(corpus).attach(corpus.windows("train", SECONDS))
    montage = pickle.loads(pickle.dumps(windows.montages[1]))
    np.testing.assert_array_equal(montage.codes[3], windows.montages[1].codes[3])
    assert len(pickle.dumps(montage.codes)) < 500


def test_codes_serve_their_tokenizer_their_type_and_their_windows_alone(tmp_path):
    corpus = noise_corpus(tmp_path / "corpus")
    assert "no codes are kept beside" in reason(corpus)
    kept = keep(corpus)
    assert not reason(corpus) and not reason(corpus, stride=2.0)
    assert "another tokenizer" in reason(corpus, tokenizer="u" * 64)
    assert "not computed in bfloat16" in reason(corpus, dtype="bfloat16")
    assert "another length or stride" in reason(corpus, stride=1) and "another length" in reason(corpus, seconds=3)
    keep(corpus, dtype="bfloat16")
    assert find_codes(corpus, TOKENIZER, "float32", window_shapes(corpus, SECONDS, None))[0] == kept
    assert "codes of 1,234 windows of 2 s every 2 s, by tokenizer tttttttttttt in bfloat16," in describe(corpus)
    # Beside one corpus of a mix is beside none.
    other = noise_corpus(tmp_path / "other")
    data = DataConfig(window_seconds=SECONDS)
    assert codes_for(data, [corpus, other], TOKENIZER, "float32") == ([], f"no codes are kept beside {other.path}")


def changed_table(corpus: Corpus) -> None:
    spans = pd.read_csv(corpus.path / "spans.csv")
    spans.loc[0, "stop"] -= 1
    spans.to_csv(corpus.path / "spans.csv", index=False, lineterminator="\n")


def changed_quality(corpus: Corpus) -> None:
    flags = np.load(corpus.path / "3ch" / "quality.npy")
    flags[0, 0] |= 1
    np.save(corpus.path / "3ch" / "quality.npy", flags)


@pytest.mark.parametrize("change", [changed_table, changed_quality])
def test_codes_of_another_state_of_the_corpus_serve_nobody(tmp_path, change):
    corpus = without_digests(noise_corpus(tmp_path / "corpus"))
    keep(corpus)
    change(corpus)
    changed = Corpus.open(corpus.path)
    assert "another state of the corpus" in reason(changed)
    assert "of another state of the corpus, which none uses" in describe(changed)


def test_signal_that_was_cleaned_in_another_way_is_another_state(tmp_path):
    """The same tables, flags and sizes: one sample differs, in the first second of the second piece or later."""
    eeg = np.random.default_rng(0).normal(scale=30, size=(3, 24 * 200)).astype(np.float16)
    other, late = eeg.copy(), eeg.copy()
    other[1, 1700] += 1
    late[1, 2700] += 1
    made = []
    for folder, signal in (("one", eeg), ("same", eeg), ("other", other), ("late", late)):
        recording = MadeRecording("r", "s", ELECTRODES[:3], signal, [(0, 24, "train", 0)], cuts=(1600,))
        made.append(make_corpus(tmp_path / folder / "corpus", [recording], ("one",)))
    assert len({(own.path / "pieces.csv").read_bytes() for own in made}) == 1
    one, same, changed, later = map(corpus_digest, made)
    assert one == same and len({one, changed, later}) == 3
    one, same, changed, later = (corpus_digest(without_digests(corpus)) for corpus in made)
    assert one == same == later != changed  # which no more than begins is read of


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda path: path.unlink(), "is missing: remove .* and tokenize again"),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "is not what was written"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"(", b"`", 1)), "is not what was written"),
        (lambda path: np.save(path, np.load(path) + (np.arange(2) == 1)), "is not what was written: remove"),
        (lambda path: np.save(path, np.zeros((1, 3, 2), np.int16)), "is not what was written"),
    ],
)
def test_damaged_codes_are_refused(tmp_path, damage, sentence):
    corpus = noise_corpus(tmp_path / "corpus")
    kept = keep(corpus)
    damage(kept.folder / "train-3ch.npy")
    with refuses(sentence):
        kept.attach(corpus.windows("train", SECONDS))


def test_codes_of_fewer_windows_are_refused_where_no_digest_tells(tmp_path):
    corpus = noise_corpus(tmp_path / "corpus")
    kept = keep(corpus)
    path = kept.folder / "train-3ch.npy"
    np.save(path, np.zeros((1, 3, 2), np.int16))
    older = replace(kept, info=replace(kept.info, files={}))
    with refuses(r"shape \(1, 3, 2\) instead of \(8, 3, 2\)"):
        older.attach(corpus.windows("train", SECONDS))
    path.write_bytes(path.read_bytes().replace(b"(", b"`", 1))
    with refuses("is not what was written"):
        older.attach(corpus.windows("train", SECONDS))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{}", "have format None"),
        ('{"format": 1}', "lacks 'tokenizer' in CodesInfo"),
        ("[1]", "holds no object: remove"),
        ("{", "is no JSON"),
        ('{"format": 9, "montages": {}}', "have format 9"),
    ],
)
def test_a_description_that_says_nothing_is_refused(tmp_path, content, sentence):
    corpus = noise_corpus(tmp_path / "corpus")
    (keep(corpus).folder / INFO_FILE).write_text(content)
    with refuses(sentence):
        reason(corpus)
