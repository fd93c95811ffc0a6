"""One-pass ranking of all evaluation sets, metrics and popularity segments."""
