"""The server API: requests of backends, each decoded by its definition and carried out here."""
