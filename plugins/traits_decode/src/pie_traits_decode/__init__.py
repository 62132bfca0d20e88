"""Trait `decode` of pie-core: drawing tokens on the server, ahead of the program."""
