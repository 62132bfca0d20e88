"""Keeps the event loop busy for ever: only possible in the trusted tier."""

import sys


async def main():
    sys.stdout.write("busy now\n")
    while True:
        pass
