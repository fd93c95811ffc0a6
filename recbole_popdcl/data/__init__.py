"""From atomic files to a training set and named evaluation sets."""
