"""Labels for new images."""

AUTO = "auto"
"""In the place of a device: a GPU where there is one."""
