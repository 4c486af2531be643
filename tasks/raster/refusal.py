"""What is refused because of what the user gave."""


class InputError(ValueError):
    """A value of the user's that can't be: the message names it, says why, and what to do."""
