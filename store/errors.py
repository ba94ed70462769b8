"""Errors of the store. They have one root; each leaf is also the builtin that fits it.

StoreError
├── DataFolderUnwritable (OSError)
├── FolderInUse (RuntimeError)
├── NewerSchema (RuntimeError)
├── StoreCorrupt (RuntimeError)
├── UnknownCompletion / UnknownComparison / UnknownFeedback / UnknownVersion (LookupError)
├── UnknownConversation / UnknownRater / UnknownKey (LookupError)
├── IdempotencyConflict (ValueError)
├── WrongState (ValueError)
└── WriterClosed (RuntimeError)
"""


class StoreError(Exception):
    """Root of the store's errors."""


class DataFolderUnwritable(StoreError, OSError):
    """The data folder cannot be created or written."""


class FolderInUse(StoreError, RuntimeError):
    """Another process of the same kind works on the data folder."""


class NewerSchema(StoreError, RuntimeError):
    """The database was written by a newer Attune."""


class StoreCorrupt(StoreError, RuntimeError):
    """The file is not a database of Attune."""


class UnknownCompletion(StoreError, LookupError):
    """There is no such completion."""


class UnknownComparison(StoreError, LookupError):
    """There is no such comparison."""


class UnknownFeedback(StoreError, LookupError):
    """There is no such feedback."""


class UnknownVersion(StoreError, LookupError):
    """There is no such version."""


class UnknownConversation(StoreError, LookupError):
    """There is no such conversation, or it is deleted."""


class UnknownRater(StoreError, LookupError):
    """There is no such rater."""


class UnknownKey(StoreError, LookupError):
    """There is no such API key."""


class IdempotencyConflict(StoreError, ValueError):
    """The same idempotency key came with another body."""


class WrongState(StoreError, ValueError):
    """A version cannot change from its state to the requested one."""


class WriterClosed(StoreError, RuntimeError):
    """A write came after the writer was closed."""
