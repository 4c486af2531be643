"""`python -m flows`: see :mod:`flows.command`."""

from flows.command import run

if __name__ == "__main__":
    run()
