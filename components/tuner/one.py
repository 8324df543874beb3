"""Entry point of a Katib trial's container. Experiments contain the command `python -m tuneoff.components.tuner.one`."""

from tuneoff.katib.trial import main

if __name__ == "__main__":
    main()
