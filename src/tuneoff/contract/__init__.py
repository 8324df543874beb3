"""The contract of a search method: one small check per promise, run over every method of the registry and over users' own."""
