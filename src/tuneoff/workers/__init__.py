"""Child processes that run a method or train models."""
