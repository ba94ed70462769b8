"""Runners: engines that generate with one version's weights, behind one small interface."""
