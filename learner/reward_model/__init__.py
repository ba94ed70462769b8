"""The reward model: its labels, training, calibration, commands, and the trust in the raters behind the labels."""
