"""Numbers computed from the record. This package draws nothing and writes no prose."""
