"""Recordings in every format, as pieces of microvolts: opened, told apart, and never read whole."""
