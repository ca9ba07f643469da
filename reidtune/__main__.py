"""``python -m reidtune`` is ``reidtune``."""

from reidtune.cli.app import main

if __name__ == "__main__":
    main()
