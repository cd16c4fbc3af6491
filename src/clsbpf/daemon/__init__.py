"""An engine that many processes share: it answers on a Unix socket as a kernel does on its own.

- `address`: where the socket is, and whose it must be
- `wire`: what passes on it beside rtnetlink: the socket's options and the bpf(2)-like calls
- `client`: a connection: requests and calls out, replies and notifications in
- `lookalike`: a connection that passes for an AF_NETLINK socket, for libraries that want one
- `host`: the engine, and what one process may ask of it
- `bpf`: the bpf(2)-like calls, carried out
- `listener`: a listening socket, and the lock that says whose it is
- `state`, `snapshot`, `restore`, `objects`: what was acknowledged, kept for the next start
- `server`: the socket's other end: a thread a connection

A client imports `address`, `wire` and `client` only, which are light.
"""
