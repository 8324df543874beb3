"""Recommend a method from finished studies."""
