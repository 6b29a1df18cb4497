"""The one exception for bad input: a sentence that says what is wrong, where, and what to do."""


class InputError(ValueError):
    """What the user gave cannot be used; the message is one sentence for them and the command exits with 2."""
