"""Measurements, as ratios of two sides in one run; no test times anything."""
