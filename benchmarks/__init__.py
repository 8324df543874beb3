"""What is fast, measured: each goal beside what this machine needs for it."""
