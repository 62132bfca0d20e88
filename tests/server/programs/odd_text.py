"""Prints and returns half a surrogate pair, which UTF-8 does not have."""


async def main():
    print("printed \ud83d", end="")
    return "returned \ud83d and \U0001f600"
