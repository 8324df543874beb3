"""The container image that the steps run in on a cluster."""

import os

from tuneoff import __version__

IMAGE = os.environ.get("TUNEOFF_IMAGE", f"tuneoff/steps-python:{__version__}")
"""Nothing is installed at run time: the steps find the package in this image."""
