"""What audits of a run's features found, as a part of its report."""

from labram_jax.checkpoints.files import AUDIT
from labram_jax.evaluation.findings import Audit, read_audits
from labram_jax.evaluation.variance import FACTORS, LABEL, SUBJECT
from labram_jax.reporting.figures.variance import variance_shares
from labram_jax.reporting.page import Page
from labram_jax.reporting.runlog import Run


def describe_audits(page: Page, run: Run) -> None:
    """Adds the audits that were left in the run to the page: shares of the variance, scores without subjects."""
    audits = read_audits(run.path / AUDIT)
    if not audits and run.stage == "fine-tuning":
        page.note("Audit: the command audit tells what the features say of subjects, and of labels without them.")
    for corpus, audit in audits.items():
        _describe(page, corpus, audit)


def _describe(page: Page, corpus: str, audit: Audit) -> None:
    page.heading(f"Audit: what features say on {corpus}")
    page.text(f"{audit.title}.")
    first = [SUBJECT, LABEL] if audit.crossed else [LABEL, SUBJECT]
    page.figure(
        f"variance-{corpus}",
        variance_shares(
            {split: {kind: own.variance[split] for kind, own in audit.features.items()} for split in audit.windows},
            (*first, *FACTORS[2:]),
        ),
        "How the variance of standardised features is shared out; strokes: how far a factor reaches if it is shuffled.",
    )
    for table in audit.tables():
        page.text(f"{_sentence(table.caption)}:")
        page.table(table.headers, table.rows)
    for note in audit.notes:
        page.text(f"{_sentence(note).rstrip('.')}.")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
