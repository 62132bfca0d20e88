"""Sends one message, then fails."""

from inferlet import send


async def main():
    send("so far so good")
    raise ValueError("no such luck")
