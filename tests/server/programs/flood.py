"""Sends large messages as fast as it can, until that is refused."""

from inferlet import send, sleep


async def main():
    while True:
        send("x" * 100_000)
        await sleep(0)
