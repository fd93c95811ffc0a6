"""Runs and what is done with them: train, evaluate again, recommend."""
