"""Estimate what a study will take before it starts."""
