"""`python -m labram_jax`."""

import sys

from labram_jax.cli import main

sys.exit(main())
