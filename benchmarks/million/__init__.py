"""`make bench-million`: as many authenticated connections as a machine holds, on one server."""
