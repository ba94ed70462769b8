"""Measurements. Each script prints what it saw and writes it to bench/results/ with the machine and the command."""
