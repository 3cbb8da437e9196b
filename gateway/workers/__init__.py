"""Several workers on one machine: `gateway serve --workers N`.

A supervisor process binds the ports and starts N worker processes, which accept connections from
the same listening sockets. It restarts a worker that dies, replaces workers one by one when
settings are reloaded, writes one log stream, and answers operators for all workers.
"""
