"""Figures: pure functions from arrays to a Matplotlib figure, one look for all, no global state."""
