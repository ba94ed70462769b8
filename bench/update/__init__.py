"""Where the time of one update goes."""
