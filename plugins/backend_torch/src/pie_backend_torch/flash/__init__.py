"""Attention by FlashInfer's kernels (Ye et al. 2025, arXiv 2501.01005) over the pool's pages."""
