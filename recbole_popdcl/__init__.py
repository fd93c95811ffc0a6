"""Popularity-debiased recommendation on RecBole: losses, balanced protocol, fast training and evaluation."""

__version__ = "0.1.0"
