"""What `imfast data` does with a data directory: verify, inspect, back up, restore."""

from imfast.data.backup import Copied, back_up, restore
from imfast.data.inspect import LoggedCommand, commands
from imfast.data.verify import PartitionReport, verify

__all__ = [
    "Copied",
    "LoggedCommand",
    "PartitionReport",
    "back_up",
    "commands",
    "restore",
    "verify",
]
