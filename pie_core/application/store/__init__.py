"""Texts that programs keep, by user and key: across inferlets, restarts and servers that share the file."""
