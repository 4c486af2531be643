"""Run the command line (`python -m flows`, or `pixel-quarry`): see :mod:`flows.command_line`."""

import gc


def main() -> None:
    """Run the command line of this process."""
    # Imported objects are not garbage, and searching them takes a fifth of the time of a start. The run enables the
    # search again.
    gc.disable()
    from flows.command_line import run

    try:
        run()
    finally:
        gc.freeze()  # otherwise Python searches all objects once more as the process ends


if __name__ == "__main__":
    main()
