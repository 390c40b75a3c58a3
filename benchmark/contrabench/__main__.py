"""`python -m contrabench` is `bench`."""

from contrabench.cli.app import main

# Worker processes started by `spawn` import this file under another name.
if __name__ == "__main__":
    main()
