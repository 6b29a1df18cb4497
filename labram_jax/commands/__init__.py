"""The commands of `labram-jax`: each reads its arguments and imports a room when it runs."""
