"""The Triton backend: the Llama family on kernels of our own. Importing it loads neither torch nor Triton."""
