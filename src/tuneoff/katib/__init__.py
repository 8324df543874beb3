"""Run a study's searches with Katib and collect the results."""
