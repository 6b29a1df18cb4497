"""`python -m labram_jax`."""

from labram_jax.cli import program

program()
