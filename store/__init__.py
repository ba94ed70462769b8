"""The records that the service and the learner share: SQLite through sqlite-utils, one file per table."""
