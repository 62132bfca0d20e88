"""Trait `grammar`: generation that cannot leave a grammar. Declarations, and a handler for any backend."""
