"""What runs after what: the study file, the one KFP pipeline, and the ways to run it."""
