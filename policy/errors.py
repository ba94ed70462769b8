"""What can go wrong with a model. One root; leaves also are the builtin that they stand for."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class PolicyError(Exception):
    """Root of the policy's errors."""


class ModelNotFound(PolicyError, LookupError):
    """No such bundled model, folder or hub id."""


class ModelCorrupt(PolicyError, ValueError):
    """The folder is there but it does not hold a whole model."""


class UnsupportedModel(PolicyError, ValueError):
    """The model is whole, but this part cannot work with its kind."""


class VersionCorrupt(PolicyError, ValueError):
    """A version folder does not hold what its manifest says."""


class CannotWrite(PolicyError, OSError):
    """The file system refuses a version or an export: no room, no right, no such place."""


class FingerprintMismatch(PolicyError, ValueError):
    """Loaded weights do not answer the probe as the trained ones did."""


class InvalidChat(PolicyError, ValueError):
    """The model's chat template refuses these messages."""


class PromptTooLong(PolicyError, ValueError):
    """Prompt and reply do not fit the context."""


class RunnerFailed(PolicyError, RuntimeError):
    """A runner could not load, or ended by itself."""
