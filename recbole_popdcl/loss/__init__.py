"""Losses as pure functions: tensors in, a scalar out; one file a loss."""
