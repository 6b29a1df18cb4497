"""Files of weights that everyone has: their names here, how they are known, whose they are, where they lie."""

from dataclasses import dataclass

_OFFICIAL = "https://github.com/935963004/LaBraM/raw/c431221e6cfd23dbfa9950e0180682fb322b0548/checkpoints"
_HUB = "https://huggingface.co/braindecode/labram-pretrained/resolve/0563b6c626e7b40d9a36653b763715db94d945d7"


@dataclass(frozen=True)
class KnownFile:
    """One file, in the one version whose sha256 stands here."""

    name: str
    file: str
    what: str
    sha256: str
    licence: str
    address: str

    def __str__(self) -> str:
        return f"{self.file}, {self.what}"


KNOWN = (
    KnownFile(
        "labram-base",
        "labram-base.pth",
        "the released encoder",
        "7c50583826afac76c4ab18f43d958df40496c8229accc09ed6a227c9bb57c37c",
        "MIT",
        f"{_OFFICIAL}/labram-base.pth",
    ),
    KnownFile(
        "labram-tokenizer",
        "vqnsp.pth",
        "the released tokenizer",
        "d8f14b4232f06a5c37b6386ab021c270dd4bfa12bfecdd60372dc8ac7b711101",
        "MIT",
        f"{_OFFICIAL}/vqnsp.pth",
    ),
    # The encoder's tensors alone, without the code head, which make a quarter of the bytes.
    KnownFile(
        "labram-base-braindecode",
        "labram-base-braindecode.bin",
        "the released encoder as braindecode converted it",
        "86a40de11088b85291eb47b788b049d784e619a6b3f8e84accbf640b2c59eec3",
        "BSD-3-Clause",
        f"{_HUB}/pytorch_model.bin",
    ),
)


def known_by(sha256: str) -> KnownFile | None:
    """The file with this digest, if it is one of them."""
    return next((file for file in KNOWN if file.sha256 == sha256), None)


def known_as(name: str) -> KnownFile | None:
    """The file of this name, if it is one of them."""
    return next((file for file in KNOWN if file.name == name), None)
