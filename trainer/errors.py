"""The one exception for mistakes a person can mend."""


class UserError(Exception):
    """Bad input: a config value, a file, a folder. The message is one line that says which, what is wrong, what to do.

    The command line prints the message and exits with status 2; it never shows a traceback.
    """
