"""What is evaluated: one package per kind of objective."""
