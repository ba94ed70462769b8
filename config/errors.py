"""What can go wrong with a setting."""


class ConfigError(ValueError):
    """A setting is unknown, or its value cannot be. The message is one line that names it and says what to do."""
