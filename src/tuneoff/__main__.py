"""Run the command line with `python -m tuneoff`."""

from .cli import main

main()
