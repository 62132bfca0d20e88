"""Sends a blob."""

from inferlet import send_blob


async def main():
    send_blob(b"12345")
