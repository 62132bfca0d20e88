"""The web page of a server: a playground and a live map."""
