"""The report of a run: figures and tables in one HTML page that a person can read."""

from pathlib import Path

import numpy as np

from labram_jax.data.reader import open_corpora
from labram_jax.evaluation.references import FREQUENCIES, FREQUENCIES_BY_ELECTRODE, MEAN, MEAN_BY_ELECTRODE
from labram_jax.reporting.figures import training
from labram_jax.reporting.page import Page
from labram_jax.reporting.report_audit import describe_audits
from labram_jax.reporting.report_classifier import describe_classifier
from labram_jax.reporting.report_tokenizer import describe_tokenizer
from labram_jax.reporting.runlog import Run
from labram_jax.tables import cell, metric_name, score_rows
from labram_jax.training.probing import BAND_POWERS, PROBE

_PANELS = {
    "tokenizer": ("loss", "amplitude_loss", "phase_loss", "log_amplitude_loss", "commitment_loss", "grad_norm"),
    "pretraining": ("cross_entropy", "accuracy", "grad_norm"),
    "fine-tuning": ("loss", "accuracy", "balanced_accuracy", "auroc", "cohen_kappa", "pearson_r", "r2", "grad_norm"),
}
# What of a log line is bookkeeping and no result.
_NOT_SCORES = frozenset(
    (
        *("step", "epoch", "split", "seconds", "run_began", "learning_rate", "skipped_steps", "goodput"),
        *("patches_per_second", "step_seconds", "data_wait_seconds", "stepping_seconds", "eeg_hours_per_second"),
        *("model_flops_per_second", "share_of_peak", "peak_memory_bytes"),
    )
)


def write_report(path: str | Path) -> Path:
    """Writes `report.html`, which holds its figures, into a run's directory and returns its path.

    Shows what the stage has: how training went, and for a tokenizer its codes and reconstructed spectra on held-out
    windows, for a classifier its scores on the test split beside the baseline's; and audits of features that were left
    in it. Parts that need a corpus or a checkpoint which is gone are named at the end. Raises InputError if `path` is
    no run.
    """
    run = Run.open(path)
    page = Page(run.path, f"{run.path.name}: {run.stage}")
    _summary(page, run)
    _training(page, run)
    _probes(page, run)
    _left_scores(page, run)
    describe = {"tokenizer": describe_tokenizer, "fine-tuning": describe_classifier}.get(run.stage)
    if describe is not None:
        page.attempt("Held-out windows", lambda: describe(page, run, open_corpora(run.config.data)))
    describe_audits(page, run)
    return page.write()


def _summary(page: Page, run: Run) -> None:
    # The evaluation of the test split comes last, of the best step.
    config, last = run.config, max(run.lines, key=lambda line: line["step"])
    encoder = config.model.encoder
    rows = [
        ["stage", run.stage],
        ["corpora", ", ".join(Path(name).name for name in config.data.corpora) or "-"],
        ["encoder", f"{encoder.depth} blocks, width {encoder.width}, {encoder.heads} heads"],
        ["batch", f"{config.data.batch_rows:,} rows of {config.data.patch_slots:,} patch slots"],
        ["trained", f"{last['step']:,} steps, {last['epoch']:.4g} of {config.loop.epochs:g} epochs"],
        ["seed", str(config.loop.seed)],
    ]
    if speed := run.last("train").get("patches_per_second"):
        rows.append(["speed", f"{speed:,.0f} patches a second"])
    if (goodput := run.last("train").get("goodput")) is not None:
        rows.append(["goodput", f"{goodput:.0%} of the time went into steps"])
    if run.best:
        value = cell(float(run.best["value"]))
        rows.append(["best", f"{metric_name(run.best['metric'])} {value} on validation, step {run.best['step']:,}"])
    page.table(["", ""], rows)


def _training(page: Page, run: Run) -> None:
    page.heading("Training")
    columns = {"train, last": run.last("train")}
    if run.best:
        columns["validation, best"] = run.at("validation", run.best["step"])
    columns |= {"validation, last": run.last("validation"), "test": run.last("test")}
    page.table(*score_rows({name: _scores_in(line) for name, line in columns.items() if line}))
    curves = {metric: run.curves(metric) for metric in _PANELS[run.stage]}
    references, meaning = _references(run)
    figure = training.training_curves(
        {metric: splits for metric, splits in curves.items() if splits},
        run.series("train", "learning_rate"),
        references,
    )
    page.figure("training", figure, f"Metrics and learning rate over steps.{meaning}")
    if run.stage == "tokenizer":
        codes = run.config.model.quantizer.codes
        used, perplexity = run.curves("codes_used"), run.curves("perplexity")
        if used and perplexity:
            page.figure(
                "codebook", training.codebook_usage(used, perplexity, codes),
                "Codes in use and their perplexity. On the training split they count one batch, on validation all "
                "of its windows.",
            )  # fmt: skip


def _probes(page: Page, run: Run) -> None:
    """What linear maps read off the encoder while it was pretrained: at first, where it is best, and at last."""
    references = {split for split in run.splits if split.endswith(f"/{BAND_POWERS}")}
    for split in (split for split in run.splits if split.startswith(PROBE) and split not in references):
        begun, last = run.first(split), run.last(split)
        lines = {f"step {line['step']:,}": line for line in (begun, _best_line(run, split), last) if line}
        if powers := run.last(f"{split}/{BAND_POWERS}"):
            lines["band powers"] = powers
        page.heading(f"Probe of {split.removeprefix(PROBE)}", level=3)
        page.text("A linear map of the encoder's features, on the validation windows by which its penalty was chosen.")
        page.table(*score_rows({name: _scores_in(line) for name, line in lines.items()}))


def _best_line(run: Run, split: str) -> dict[str, float]:
    return run.at(split, run.best["step"]) if run.best else {}


def _scores_in(line: dict[str, float]) -> dict[str, float]:
    """What of a line is a result."""
    return {metric: value for metric, value in line.items() if metric not in _NOT_SCORES}


def _references(run: Run) -> tuple[dict[str, tuple[float, str]], str]:
    """Lines to compare the curves with, by metric, and a sentence on what they mean.

    They are those that an evaluation of the test split left in the run; without one it is said what they would be.
    """
    left = run.scores.get(run.config.data.test_split, {})
    if run.stage == "tokenizer":
        means = {name: left[name] for name in (MEAN, MEAN_BY_ELECTRODE) if name in left}
        if not means:
            return {}, " The command evaluate tells the losses of the training split's mean spectra: below 1."
        lines = {}
        for metric in next(iter(means.values())):  # the harder one to beat
            value, name = min((own[metric], name) for name, own in means.items())
            lines[metric] = (value, f"{name}: {value:.3f}")
        return lines, " Dashed: what mean spectra of the training split give on the test split, without any code."
    if run.stage == "pretraining":
        codes = run.config.model.codes
        guess = float(np.log(codes))
        if frequencies := {name: left[name] for name in (FREQUENCIES, FREQUENCIES_BY_ELECTRODE) if name in left}:
            value, name = min((own["cross_entropy"], name) for name, own in frequencies.items())
            lines = {"cross_entropy": (value, f"{name}: {value:.2f}")}
            value, name = max((own["accuracy"], name) for name, own in frequencies.items())
            lines["accuracy"] = (value, f"{name}: {value:.2f}")
            return lines, (
                " Dashed: predicting each code by how often it occurs in the training split, on the test split (evenly "
                f"among {codes:,} codes it would be ln {codes} = {guess:.3f})."
            )
        note = "the command evaluate tells what predicting codes by their frequencies costs, which is less."
        sentence = f" Guessing evenly among {codes:,} codes costs ln {codes} = {guess:.3f}; {note}"
        return {"cross_entropy": (guess, f"guessing evenly: ln {codes} = {guess:.2f}")}, sentence
    return {}, ""


def _left_scores(page: Page, run: Run) -> None:
    """The table that an evaluation left: the model beside what is reached without it."""
    split = run.config.data.test_split
    columns = run.scores.get(split, {})
    if run.stage != "fine-tuning" and columns:
        page.heading(f"Scores on the {split} split")
        page.attempt("Subjects", lambda: page.text(_corpora_told(run, split)))
        page.table(*score_rows(columns))


def _corpora_told(run: Run, split: str) -> str:
    data = run.config.data
    return f"Of {'; '.join(corpus.told(split, data.train_split) for corpus in open_corpora(data))}."
