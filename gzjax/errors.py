"""The error that a user can mend."""


class UserError(Exception):
  """A mistake in a flag, a config, a file or a row.

  The message is one line that names the culprit and the mend; the command line
  prints it and exits with code 2.
  """

  def __init__(self, message: str):
    super().__init__(" ".join(message.split()))
