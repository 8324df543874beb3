"""Benchmarks of the speed goals."""
