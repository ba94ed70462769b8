"""Simulated users: people with a stated taste who chat, judge and correct through the SDK, and what the model makes of
it.
"""
