"""Errors about models. They have one root; each leaf is also the builtin that fits it."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class PolicyError(Exception):
    """Root of the policy's errors."""


class ModelNotFound(PolicyError, LookupError):
    """There is no such bundled model, folder or hub id."""


class ModelCorrupt(PolicyError, ValueError):
    """The folder does not hold a whole model."""


class UnsupportedModel(PolicyError, ValueError):
    """The model is whole, but this part of Attune does not support its kind."""


class VersionCorrupt(PolicyError, ValueError):
    """A version folder differs from its manifest."""


class CannotWrite(PolicyError, OSError):
    """The file system refuses a version or an export: disk full, no permission, no such folder."""


class FingerprintMismatch(PolicyError, ValueError):
    """The fingerprint of the loaded weights is not that of the trained ones."""


class InvalidChat(PolicyError, ValueError):
    """The model's chat template refuses these messages."""


class PromptTooLong(PolicyError, ValueError):
    """Prompt and completion do not fit the context."""


class Interrupted(PolicyError):
    """The work was ended before its result, since nobody waits for that any more."""


class RunnerFailed(PolicyError, RuntimeError):
    """A runner did not load, or ended by itself."""
