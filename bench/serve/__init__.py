"""Our service beside other servers on the same weights: `python -m bench.serve`, or `make bench-serve`."""
