"""Sends back what it receives until that is `bye`; blobs once, if asked for with `blob`."""

from inferlet import receive, receive_blob, send, send_blob


async def main():
    while (line := await receive()) != "bye":
        if line == "blob":
            send_blob(await receive_blob())
        else:
            send(line)
    return "done"
