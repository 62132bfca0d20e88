"""Decoding ahead of the host: each step's tokens are drawn on the device and run by the next, unseen."""
