"""python -m tuneoff"""

from .cli import main

main()
