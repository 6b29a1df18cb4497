"""What a configuration refuses, as it is built."""

from labram_jax.errors import InputError


def require(condition: bool, sentence: str) -> None:
    if not condition:
        raise InputError(sentence)
