"""The version of the package, and the number of the plugin interface it offers."""

__version__ = "0.1.0"

API_VERSION = 1
"""Raised when a plugin written for the last number would no longer work. A package says which it was written for by the
names of its entry points in group `pie_core.api`."""
