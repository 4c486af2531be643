"""`python -m flows`: see :mod:`flows.command_line`."""

import gc

if __name__ == "__main__":
    # Nothing of what is imported is garbage, and to search it takes a fifth of a start. The run switches it on again.
    gc.disable()
    from flows.command_line import run

    try:
        run()
    finally:
        gc.freeze()  # nor does it matter as the process ends, when Python searches all of it once more
