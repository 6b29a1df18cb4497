"""What is done with a model that is trained, and `inspect`, which also looks into recordings and corpora."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from labram_jax.commands.calling import call


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

    call(run, "tokenize", arguments)


def evaluate(arguments: Sequence[str]) -> None:
    def run(
        checkpoint: Positional[str],
        source: Positional[str],
        also: tuple[str, ...] = (),
        split: Literal["train", "validation", "test"] = "test",
        baseline: bool = True,
        window_seconds: int | None = None,
        stride_seconds: float | None = None,
        manifest: Path | None = None,
        notch: float | None = 50.0,
    ) -> None:
        """Score a model on a split of a corpus, or on recordings, beside what is reached without it.

        Classifiers are scored per window, per recording and per subject, with 95 % intervals over subjects, beside a
        band-power regression and chance; their predictions are left in the run as one table (.npz and .csv).

        Args:
            checkpoint: a run (its best checkpoint), a checkpoint, an exported model, a file of PyTorch, a known name
                (labram-base), or an address on the Hub (hf://OWNER/NAME).
            source: a corpus made by `labram-jax prepare`, or its address in a bucket; or a recording or a folder of
                recordings in any format that MNE reads, prepared for the moment as by `prepare folder`.
            also: runs that differ in their seed alone; scores become mean and standard deviation.
            split: which windows; recordings are all in it, unless their manifest says another.
            baseline: also fit a band-power regression to the corpus' training split (classifiers).
            window_seconds: length of the windows in whole seconds, 1 to 16; by default as the model was trained.
            stride_seconds: from the start of one window to the next; by default as the model was trained, or the
                window's length where that is given.
            manifest: of recordings: a CSV file that says their labels (path, subject, split, label, start, stop), as
                for `prepare folder`; a classifier needs it.
            notch: of recordings: mains frequency to take out in Hz (50 or 60), or None.
        """
        from labram_jax.evaluation.evaluate import evaluate_seeds
        from labram_jax.runs import keep_compiled

        keep_compiled()
        lengths = (window_seconds, stride_seconds)
        print(evaluate_seeds([checkpoint, *also], source, split, baseline, *lengths, manifest, notch))

    call(run, "evaluate", arguments)


def predict(arguments: Sequence[str]) -> None:
    def run(
        checkpoint: Positional[str],
        source: Positional[str],
        out: Positional[Path],
        window_seconds: int | None = None,
        stride_seconds: float | None = None,
        notch: float | None = 50.0,
    ) -> None:
        """Write a classifier's predictions for all windows of a corpus or of recordings as one table.

        A line a window: corpus, split, recording, subject, start, label, and the probability of each class.

        Args:
            checkpoint: a run (its best checkpoint), a checkpoint, an exported model, a file of PyTorch, a known name
                (labram-base), or an address on the Hub (hf://OWNER/NAME).
            source: a corpus made by `labram-jax prepare`, or its address in a bucket; or a recording or a folder of
                recordings in any format that MNE reads, prepared as by `prepare folder`. No labels are needed.
            out: the .npz file to write, one array a column; a .csv file of the same name is written beside it.
            window_seconds: length of the windows in whole seconds, 1 to 16; by default as the model was trained.
            stride_seconds: from the start of one window to the next; by default as the model was trained, or the
                window's length where that is given.
            notch: of recordings: mains frequency to take out in Hz (50 or 60), or None.
        """
        from labram_jax.evaluation.predict import predict
        from labram_jax.runs import keep_compiled

        keep_compiled()
        print(predict(checkpoint, source, out, window_seconds, stride_seconds, notch))

    call(run, "predict", arguments)


def audit(arguments: Sequence[str]) -> None:
    from labram_jax.config import PENALTIES

    def run(
        checkpoint: Positional[str],
        corpus: Positional[str],
        readouts: tuple[Literal["mean", "class_token", "electrodes", "attention"], ...] = (),
        most_windows: int = 2000,
        most_subjects: int = 64,
        window_seconds: int | None = None,
        stride_seconds: float | None = None,
        penalties: tuple[float, ...] = PENALTIES,
    ) -> None:
        """Tell what a model's features say of subjects, of labels, and of labels without subjects.

        How much of their variance goes with subject, label and recording, beside what shuffling leaves of each; scores
        of linear probes of them, also without the directions in which subjects differ; how well subjects are told
        apart: of features with and without amplitude, beside band powers and chance on the same windows. Left in the
        run, for its report.

        Args:
            checkpoint: a run (its best checkpoint), a checkpoint, an exported model, or a file of PyTorch.
            corpus: a labelled corpus made by `labram-jax prepare`, or its address in a bucket.
            readouts: how features are made of patches; by default as the classifier does, and of an encoder mean and
                electrodes.
            most_windows: most windows of a split, drawn by the seed of the run.
            most_subjects: of so many subjects, drawn likewise.
            window_seconds: length of the windows in whole seconds, 1 to 16; by default as the model was trained.
            stride_seconds: from the start of one window to the next; by default as the model was trained, or the
                window's length where that is given.
            penalties: of the probes, as for fine-tuning with trainable "probe"; validation chooses.
        """
        from labram_jax.evaluation.audit import audit
        from labram_jax.runs import keep_compiled

        keep_compiled()
        drawn, lengths = (most_windows, most_subjects), (window_seconds, stride_seconds)
        print(audit(checkpoint, corpus, readouts, *drawn, *lengths, penalties))

    call(run, "audit", arguments)


def embed(arguments: Sequence[str]) -> None:
    def run(
        checkpoint: Positional[str],
        source: Positional[str],
        out: Positional[Path],
        pool: Literal["mean", "class_token", "electrodes", "none"] = "mean",
        window_seconds: int | None = None,
        stride_seconds: float | None = None,
        unusable: Literal["leave-out", "flag"] = "leave-out",
        manifest: Path | None = None,
        notch: float | None = 50.0,
    ) -> None:
        """Write features of a corpus or of recordings to an .npz file or a Zarr group (of a tokenizer: codes).

        Beside them: subject, recording, start, split, label, bad electrodes and quality of each window.

        Args:
            checkpoint: a run (its best checkpoint), a checkpoint, an exported model, a file of PyTorch, a known name
                (labram-base), or an address on the Hub (hf://OWNER/NAME).
            source: a corpus made by `labram-jax prepare`, or its address in a bucket; or a recording or a folder of
                recordings in any format that MNE reads, prepared for the moment as by `prepare folder`.
            out: what to write: a Zarr group where it ends with .zarr, else an .npz file.
            pool: one vector a window (mean, class_token), one an electrode (electrodes), or one a patch (none).
            window_seconds: length of the windows in whole seconds, 1 to 16; by default that of the corpus' protocol, or
                that which makes about 256 patches.
            stride_seconds: from the start of one window to the next; by default the window's length.
            unusable: windows with lost samples, annotated as bad, or with too many bad electrodes are left out, or are
                there without features and with the reason (flag).
            manifest: of recordings: a CSV file that says their labels (path, subject, split, label, start, stop), as
                for `prepare folder`.
            notch: of recordings: mains frequency to take out in Hz (50 or 60), or None.
        """
        from labram_jax.evaluation.embed import embed
        from labram_jax.runs import keep_compiled

        keep_compiled()
        shapes, told = embed(
            checkpoint,
            source,
            out,
            pool=pool,
            window_seconds=window_seconds,
            stride_seconds=stride_seconds,
            unusable=unusable,
            manifest=manifest,
            notch=notch,
        )
        for name, shape in shapes.items():
            print(f"{name}: {' x '.join(map(str, shape))}")
        print("\n".join([*told, f"written to {out}"]))

    call(run, "embed", arguments)


def convert(arguments: Sequence[str]) -> None:
    def run(
        source: Positional[str],
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
            weights: which model of a file that holds several, such as model_ema: an entry of a checkpoint, or the first
                part of tensors' names; by default the model itself.
            seconds: length of the windows of a braindecode model (1 to 16), which it fixes.
            pooling: how a braindecode model without a head makes one feature of a window.
        """
        from labram_jax.weights import convert

        print(convert(source, dest, to, strict=strict, weights=weights, seconds=seconds, pooling=pooling))

    call(run, "convert", arguments)


def push(arguments: Sequence[str]) -> None:
    def run(source: Positional[str], repo: Positional[str], licence: str, private: bool = True) -> None:
        """Put a model on the Hugging Face Hub, with a card that tells its data, scores, digests and licence.

        Args:
            source: a run (its best checkpoint), a checkpoint, an exported model, or a file of PyTorch.
            repo: OWNER/NAME, which is made if it is not there.
            licence: of the weights, as the Hub names it: mit, apache-2.0, cc-by-4.0, other, ...
            private: whether a repository that is made is seen by its owner alone.
        """
        from labram_jax.publish import push

        print(f"pushed to {push(source, repo, licence=licence, private=private)}")

    call(run, "push", arguments)


def inspect(arguments: Sequence[str]) -> None:
    def run(path: Positional[Path]) -> None:
        """Tell what a recording, a corpus, a run, a checkpoint or an exported model holds."""
        from labram_jax.inspect import inspect

        print(inspect(path))

    call(run, "inspect", arguments)


def report(arguments: Sequence[str]) -> None:
    def run(path: Positional[Path]) -> None:
        """Write figures and tables of a run, a benchmark or a corpus as one HTML page, to open in a browser.

        Args:
            path: the directory of a run, of a benchmark's results, or of a prepared corpus.
        """
        from labram_jax.benchmark.page import JSON, write_page
        from labram_jax.data.schema import CORPUS_FILE
        from labram_jax.reporting.report import write_report
        from labram_jax.reporting.report_corpus import write_corpus_report

        kinds = {CORPUS_FILE: write_corpus_report, JSON: write_page}
        write = next((own for name, own in kinds.items() if (path / name).is_file()), write_report)
        print(f"report written to {write(path)}")

    call(run, "report", arguments)
