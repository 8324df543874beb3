"""What the components of several steps share: the artifacts that they hand on to each other."""
