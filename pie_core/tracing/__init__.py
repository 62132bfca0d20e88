"""A trace of what a server does, in a file that chrome://tracing and Perfetto open. Nobody below knows of it."""
