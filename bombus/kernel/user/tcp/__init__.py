"""TCP between sockets of the user kernel: segments over the loopback, and the programs that watch connections."""
