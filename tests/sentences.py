"""What every message for bad input must be."""

import re

import pytest

from labram_jax.errors import InputError


def assert_one_sentence(message: str) -> None:
    """One line, ended by a full stop, with no second sentence after the first."""
    assert message.endswith(".") and "\n" not in message, message
    assert not re.search(r"[.!?] +[A-Z]", message), message


def refuses(match: str):
    """A context that demands an InputError of one sentence in which `match` is found."""

    class Refuses:
        def __enter__(self):
            self.raises = pytest.raises(InputError, match=match)
            self.error = self.raises.__enter__()

        def __exit__(self, *raised):
            caught = self.raises.__exit__(*raised)
            if caught:
                assert_one_sentence(str(self.error.value))
            return caught

    return Refuses()
