"""Every technique against the best that can be had beside it on the same machine: `make bench-techniques`.

A technique is a module of `sides/`: its `TECHNIQUES` say how our program does the work, and how each baseline does
(`form.py`). `bench.py` is what sides are written with, `measure.py` runs them in turns, `table.py` prints the end.
"""
