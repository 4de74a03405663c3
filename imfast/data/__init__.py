"""What `imfast data` does with a data directory: verify, inspect, back up, restore, reshard."""

from imfast.data.backup import Copied, back_up, restore
from imfast.data.inspect import LoggedCommand, commands
from imfast.data.reshard import Resharded, reshard
from imfast.data.verify import PartitionReport, verify

__all__ = [
    "Copied",
    "LoggedCommand",
    "PartitionReport",
    "Resharded",
    "back_up",
    "commands",
    "reshard",
    "restore",
    "verify",
]
