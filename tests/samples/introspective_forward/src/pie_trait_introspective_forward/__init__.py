"""Trait `introspective_forward` of pie-core: `forward`, and where its tokens looked. Importing it loads no backend."""
