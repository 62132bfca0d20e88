"""The kernels, one file each: what it computes, over which shapes, in which precision, from which paper.

A kernel is a function of its tensors alone; nothing here knows a backend. All run on a CUDA device, or on a CPU under
Triton's interpreter (`TRITON_INTERPRET=1`).
"""
