"""What LaBraM's released weights were pretrained on: the corpora that the paper (arXiv 2405.18765) names."""

import re

# By the paper's name: what a corpus on disk may be called, in letters and digits alone.
_CORPORA = (
    ("BCI Competition IV-1", "(bcicompetition|bcicomp|bci)iv1.*"),
    ("Emobrain", "emobrain.*"),
    ("Grasp and Lift", "graspandlift.*"),
    ("Inria BCI Challenge", "(inriabci|bcichallenge).*"),
    ("EEGMMIDB", "(eegmmidb|eegbci|physionetmi).*"),
    ("Raw EEG Data", "raweegdata"),
    ("Resting State", "restingstate"),
    ("Siena Scalp", "siena(scalp.*)?"),
    ("SPIS", "spis.*"),
    ("Target vs Non-Target", "target(vs|versus)nontarget"),
    ("TUAR", "tuar"),
    ("TUEP", "tuep"),
    ("TUSZ", "tusz"),
    ("TUSL", "tusl"),
    ("the SEED series, or a part of it", "seed(iv|v|vii|ger|fra)?"),
)
# Parts of one hospital's archive, whose patients may be in several of them.
_ARCHIVE, _OF_THE_ARCHIVE = ("tuab", "tuev", "tueg"), "TUAR, TUEP, TUSZ and TUSL"


def among_the_paper_s(corpus: str) -> str | None:
    """How the paper calls a pretraining corpus of this name; None where it is none of them."""
    plain = re.sub(r"[^a-z0-9]", "", corpus.lower())
    return next((name for name, called in _CORPORA if re.fullmatch(called, plain)), None)


def related_to_the_paper_s(corpus: str) -> str | None:
    """Pretraining corpora of the paper that may share people with a corpus of this name, which is none of them."""
    return _OF_THE_ARCHIVE if corpus.lower().startswith(_ARCHIVE) else None
