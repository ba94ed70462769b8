"""What can go wrong with a setting."""


class ConfigError(ValueError):
    """A setting is unknown, or its value is not allowed. The message is one line: the value, and what to do."""
