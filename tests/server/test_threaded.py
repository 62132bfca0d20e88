"""`pie_core.server.threaded`: a server for code that is not asynchronous."""

import pytest

from pie_core.controller import Settings
from pie_core.errors import PieError
from pie_core.server.threaded import Served, served


def test_what_keeps_a_server_from_starting_is_raised_where_it_was_wanted():
    with pytest.raises(PieError, match="nowhere"), served(Settings("nowhere"), Served):
        pytest.fail("there is no such model")
