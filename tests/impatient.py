"""A program that gives up most of its reads, some of them when their message has come. It must get them all."""

IMPATIENT = """
async def main():
    got, tries = [], 0
    while not got or got[-1] != "last":
        tries += 1
        try:
            if tries % 2:
                got.append(await asyncio.wait_for(receive(), 1e-6))
            else:
                async with asyncio.timeout(0):
                    got.append(await receive())
        except TimeoutError:
            await sleep(0)
        if tries % 7 == 0:
            receive()  # and nobody awaits it
        if tries % 50 == 0:
            got.append(await receive())
    return " ".join(got)
"""
SENT = [*map(str, range(200)), "last"]
