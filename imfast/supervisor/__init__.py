"""The parent of all workers: it listens, starts, watches, replaces and stops; it serves no client.

Flow: `server.run_server` checks and opens everything that outlives a worker (data directory,
listening sockets, route table), then `supervisor.Supervisor` keeps one worker per slot alive.
"""
