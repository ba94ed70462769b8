"""Training data: feedback and files as examples, example weights, replay, and the plan of an update."""
