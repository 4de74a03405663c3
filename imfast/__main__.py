"""``python -m imfast`` is the ``imfast`` command."""

import gc
import os
import signal
import sys


def _stop_at_once(_number: int, _frame: object) -> None:
    """What was started yet, the zygote and first workers, ends when it sees that we have.

    Not by an exception: raised while an extension module is set up, it is lost or a crash.
    """
    os._exit(0)


def main() -> None:
    """Enters the command line."""
    zygote = None
    if sys.argv[1:2] == ["serve"]:
        # The imports below take long enough to be told to stop in the middle of them.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stop_at_once)
        # What is loaded stays: a tenth of the time would go into looking for garbage among it.
        gc.disable()
        from imfast.cli.early import serve_as_before, start_zygote

        zygote = start_zygote(sys.argv)
    try:
        if zygote is not None:
            serve_as_before(sys.argv[2:], zygote)
        from imfast.cli.group import main as run

        run(obj=zygote)
    finally:
        if zygote is not None:
            zygote.close()


if __name__ == "__main__":
    main()
