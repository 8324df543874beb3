"""Run searches: the loop, the budget and the checkpoints."""
