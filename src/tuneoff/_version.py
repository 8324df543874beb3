"""The version of Tuneoff. A separate module, so that core can import it without the public API."""

__version__ = "0.1.0"
