"""One protocol a file: what `labram-jax benchmark` runs, and what others report of it."""
