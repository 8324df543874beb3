"""One file per framework; each imports its framework only when a method is built."""
