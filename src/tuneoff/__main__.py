"""python -m tuneoff"""

from .cli.main import main

main()
