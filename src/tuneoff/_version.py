"""The version of Tuneoff. A module of its own, so that core can import it without the public API."""

__version__ = "0.1.0"
