"""The language model as service and learner both know it. Importing the package imports no torch."""
