"""How the service and the learner read their settings: flags, environment, a TOML file, defaults."""
