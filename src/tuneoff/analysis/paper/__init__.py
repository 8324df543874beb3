"""The tables and claims of the paper that Tuneoff reproduces."""
