"""Makes one core module of those that a component links dynamically; see `merging.merge`."""

FORM = "1"  # differs where another module is made of the same component
