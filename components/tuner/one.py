"""Entry point of a Katib trial's container: `python -m tuneoff.components.tuner.one`, the name that Experiments carry."""

from tuneoff.katib.trial import main

if __name__ == "__main__":
    main()
