"""Training: the trainer, its checkpoints, and what makes a run repeatable."""
