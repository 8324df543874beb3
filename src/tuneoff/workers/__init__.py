"""Child processes that host a method or train a model."""
