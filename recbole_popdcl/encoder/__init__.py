"""Encoders: from user and item ids to embeddings. Propagation lives here and nowhere else."""
