"""What at least two steps import: problem, space, trial, record, tracking, storage. Imports no framework."""
