"""Configuration: property files and their kinds, the look-up of models, and the Config of a run."""
