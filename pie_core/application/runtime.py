"""The runtime calls, declared like those of a trait and answered by the application layer; see `calls/`.

`apply` returns the result, or a `Ticket` where the guest gets a future. Calls that work on a model or a queue find
its address space through the inferlet.
"""

from __future__ import annotations

from pie_core.application.calls import client, identity, models, network, programs, queues, store, topics
from pie_core.trait import Trait

RUNTIME = Trait(
    name="runtime",
    version="1.0.0",
    doc="Identity, messages to the client, models and queues, network, store, topics and programs.",
    calls=(
        *identity.CALLS,
        *client.CALLS,
        *programs.CALLS,
        *models.CALLS,
        *queues.CALLS,
        *network.CALLS,
        *store.CALLS,
        *topics.CALLS,
    ),
)
