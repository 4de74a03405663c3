"""``python -m imfast`` is the ``imfast`` command."""

from imfast.cli import main

if __name__ == "__main__":
    main()
