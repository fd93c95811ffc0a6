"""Comparison of models: many runs, means, paired tests."""
