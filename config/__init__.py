"""Settings: one loader for the service and the learner. Flags over environment over a TOML file over defaults."""
