"""Trait `decode_guided` of pie-core: many tokens in one command, each among those that a grammar allows."""
