"""Evaluate the incumbent of each search on the test split."""
