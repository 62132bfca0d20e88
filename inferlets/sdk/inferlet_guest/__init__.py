"""What runs inside WebAssembly beneath a Python program: its event loop, its host, and the world's `run`.

Shipped as source and baked into components by the builder; only `program` is also used by the trusted tier, so that
both tell the same of a program's end. Knows nothing of the server but the imports of its world.
"""
