"""The runtime calls of an inferlet, one file for each group; `runtime.RUNTIME` has them all."""
