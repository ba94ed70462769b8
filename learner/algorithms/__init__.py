"""The losses: pure functions of tensors that return one value per example and plain-float metrics.

One file per algorithm; nothing is imported here.
"""
