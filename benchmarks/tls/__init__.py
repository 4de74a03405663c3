"""What TLS costs: memory of an idle connection, a fan-out beside plaintext, handshakes."""
