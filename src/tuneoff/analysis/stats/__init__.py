"""Statistics that compare methods."""
