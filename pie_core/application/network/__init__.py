"""HTTP for inferlets: what a URL may be, which hosts and addresses may be reached, one request from start to end."""
