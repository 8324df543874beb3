"""Run searches: the loop, the budget, the executor of trials and their checkpoints."""
