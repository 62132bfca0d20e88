"""What `kernels.py` measures, part by part."""
