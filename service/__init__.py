"""The process that answers people: HTTP routes over an engine of version slots. It never trains; it meets the learner
in the store.
"""
