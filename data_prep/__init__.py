"""From recordings in any format that MNE reads to a corpus on disk; it never imports JAX, so its workers start fast."""
