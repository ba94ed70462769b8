"""The process that answers people: HTTP routes over an engine of version slots. It meets the learner in the store."""
