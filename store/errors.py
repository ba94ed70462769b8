"""What can go wrong in the store. One root; leaves also are the builtin that they stand for.

StoreError
├── DataFolderUnwritable (OSError)
├── NewerSchema (RuntimeError)
├── StoreCorrupt (RuntimeError)
├── UnknownCompletion / UnknownComparison / UnknownFeedback / UnknownVersion / UnknownConversation / UnknownRater /
UnknownKey (LookupError)
├── IdempotencyConflict (ValueError)
├── WrongState (ValueError)
└── WriterClosed (RuntimeError)
"""


class StoreError(Exception):
    """Root of the store's errors."""


class DataFolderUnwritable(StoreError, OSError):
    """The data folder cannot be made or written."""


class NewerSchema(StoreError, RuntimeError):
    """The database was written by a newer Attune."""


class StoreCorrupt(StoreError, RuntimeError):
    """The file is there but it is not a database of ours."""


class UnknownCompletion(StoreError, LookupError):
    """No such reply was ever given."""


class UnknownComparison(StoreError, LookupError):
    """No such side-by-side question was ever put."""


class UnknownFeedback(StoreError, LookupError):
    """No such feedback was ever recorded, or it was retracted before."""


class UnknownVersion(StoreError, LookupError):
    """No such version was ever made."""


class UnknownConversation(StoreError, LookupError):
    """No such conversation, or it was deleted."""


class UnknownRater(StoreError, LookupError):
    """No such person ever spoke."""


class UnknownKey(StoreError, LookupError):
    """No such API key."""


class IdempotencyConflict(StoreError, ValueError):
    """The same idempotency key came with another body."""


class WrongState(StoreError, ValueError):
    """A version cannot go from the state that it is in to the one asked for."""


class WriterClosed(StoreError, RuntimeError):
    """A write came after the writer was closed."""
