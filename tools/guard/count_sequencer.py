"""Folds batches with the sequencer, for callgrind to count: run by `counting`, not by hand.

    python -I -S count_sequencer.py FOLDER

FOLDER has `imfast/_core/sequencer.*.so`. Only the functions that are named when callgrind starts
are counted, so the interpreter's own instructions are not. Prints the commands that were folded.
"""

import os
import struct
import sys

BATCH = 256
BATCHES = 32
CONVERSATIONS = 1_000
NOW_MS = 1_763_899_999_000
WINDOW_MS = 86_400_000
RECORD = struct.Struct("<QQQIBBHQQQQ")


def batch(number: int) -> bytearray:
    """New messages with keys as random as hashes, the same in every run."""
    records = bytearray()
    for message in range(number * BATCH, (number + 1) * BATCH):
        high = (message + 1) * 0x9E37_79B9_7F4A_7C15 & 0xFFFF_FFFF_FFFF_FFFF
        low = high * 0xBF58_476D_1CE4_E5B9 & 0xFFFF_FFFF_FFFF_FFFF
        conversation = message * 389 % CONVERSATIONS
        records += RECORD.pack(high, low, 1, conversation, 0, 0, 0, 0, 0, 0, NOW_MS)
    return records


def main() -> None:
    """Folds and commits all batches."""
    sys.path.insert(0, sys.argv[1])
    os.urandom = lambda size: bytes(range(1, size + 1))  # the seed of the keys' table
    from imfast._core.sequencer import Sequencer

    sequencer = Sequencer(0, 100_000, WINDOW_MS)
    for number in range(BATCHES):
        sequencer.fold(batch(number), BATCH, NOW_MS + number)
        sequencer.commit()
    print(BATCHES * BATCH)


if __name__ == "__main__":
    main()
