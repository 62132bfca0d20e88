"""Use a server from Python: `Client` in an event loop, `SyncClient` without one. Needs no backend and no model.

    async with Client() as client:
        inferlet = await client.launch("text_completion", ["--prompt", "Hello,"])
        async for event in inferlet:
            print(event)

What goes wrong arrives as the `PieError` that it was on the server.
"""

from pie_core.client.client import Client, connect
from pie_core.client.remote import RemoteInferlet
from pie_core.client.sync import SyncClient, SyncInferlet
from pie_core.server.protocol import Allow

__all__ = ["Allow", "Client", "RemoteInferlet", "SyncClient", "SyncInferlet", "connect"]
