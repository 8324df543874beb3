"""The evaluator step: the incumbent trained anew on train + validation, scored on the test images once."""
