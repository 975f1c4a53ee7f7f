"""The one exception that means "the input is at fault, not the code"."""


class InputError(Exception):
    """Something outside the code is wrong: a file, a folder, a setting.

    The message is one or two sentences that say what is wrong, where, and what
    to do. `python -m cxr` prints it without a traceback and exits with 1.
    """
