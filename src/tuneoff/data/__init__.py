"""Data sets: fetch, check, split and prepare them."""
