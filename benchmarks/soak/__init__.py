"""Runs that kill a server under load and say what its clients noticed."""
