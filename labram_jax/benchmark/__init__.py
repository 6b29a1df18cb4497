"""Published protocols and open ones in one command: every fold, seed and mode is a run, and all are scored together."""
