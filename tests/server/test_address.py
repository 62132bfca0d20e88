"""Where a server may listen, and what it says when it may not."""

import socket

import pytest

from pie_core.errors import ConfigError
from pie_core.server.address import check_anonymous, check_trust, is_loopback, listen, url_of


def test_port_zero_takes_a_free_port_and_the_url_names_it():
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert port > 0
        assert url_of(listener) == f"http://127.0.0.1:{port}"


def test_a_port_in_use_is_an_error_that_says_what_to_do():
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port}: the port is in use; .* --port"):
            listen("127.0.0.1", port)


def test_a_port_that_was_just_left_can_be_taken_again():
    with listen("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        with socket.create_connection(address), listener.accept()[0]:
            pass
    with listen(*address):
        pass


@pytest.mark.parametrize("host", ["no such host", "256.1.1.1", "x" * 300, "192.0.2.1"])
def test_a_host_that_is_not_this_machine_is_an_error_that_names_it(host):
    with pytest.raises(ConfigError, match=host):
        listen(host, 0)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]"])
def test_loopback_needs_no_trust(host):
    assert is_loopback(host)
    check_trust(host, trusted=False)
    check_anonymous(host, allowed=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])
def test_other_machines_are_let_in_only_on_request_and_the_error_says_why(host):
    assert not is_loopback(host)
    with pytest.raises(ConfigError, match=r"anything on this machine.*--trust-programs"):
        check_trust(host, trusted=False)
    check_trust(host, trusted=True)
    with pytest.raises(ConfigError, match=r"there are no keys.*keys add.*--anonymous"):
        check_anonymous(host, allowed=False)
    check_anonymous(host, allowed=True)
