"""Simulated users with a stated taste: they chat and give feedback through the SDK, then every version is measured."""
