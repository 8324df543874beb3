"""The evaluator step: retrain the incumbent on train + validation and score the test images once."""
