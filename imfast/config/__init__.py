"""Configuration: what can be set, from where, and what a worker is told at its start."""

from imfast.config.load import Loaded, load, options
from imfast.config.schema import Settings
from imfast.config.worker_document import Layout, WorkerDocument, WorkerSockets

__all__ = ["Layout", "Loaded", "Settings", "WorkerDocument", "WorkerSockets", "load", "options"]
