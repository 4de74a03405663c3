"""What follows a commit outside of the server: push, webhooks, search.

A *reader* goes through the committed messages and events of every partition by log position, in a
process of its own, and keeps durably how far it has come. Everything is handed over at least once
under an id that never changes; what fails waits for its next attempt, and ends as a dead letter.
docs/outbox.md is the page for those who write one; it gets `imfast.outbox.effect.Effect`.
"""
