"""The one error a user is meant to read: bad input, named, with what to do about it."""


class InputError(ValueError):
    """Something the user gave (a file, a folder, a setting) cannot be used.

    The message names the offending file or value and says what to do. It is a ``ValueError`` so that callers who do
    not know this package can still catch it.
    """
