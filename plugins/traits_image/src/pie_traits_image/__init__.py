"""Trait `input_image`. Importing the package loads no image library."""
