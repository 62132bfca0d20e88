"""What a model sees with: transformers' own vision towers and image processors, a file for each kind of family.

It has the shape that package `pie-traits-image` asks for (`SeesImages`, `Vision`) and imports nothing of it.
"""
