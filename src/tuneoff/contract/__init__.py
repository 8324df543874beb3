"""The method contract: one check per promise of a search method. `tuneoff check-method` runs the checks."""
