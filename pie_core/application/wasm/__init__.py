"""Sandboxed tier: every inferlet is a WebAssembly component on a fiber of its own, under limits."""
