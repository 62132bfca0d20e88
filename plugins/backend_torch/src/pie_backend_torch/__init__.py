"""The torch backend: any transformers decoder over a paged KV pool. Importing it loads neither torch nor a model."""
