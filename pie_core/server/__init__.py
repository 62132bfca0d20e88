"""The outermost layer: a socket, HTTP for health and lists, a WebSocket protocol for everything else."""
