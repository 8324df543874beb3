"""The process around the code: machine, pod, container image, optional packages."""
