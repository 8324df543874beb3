"""Run the command line with `python -m tuneoff`."""

from .cli.main import main

main()
