# Written by make_sync.py from attune/_async/__init__.py.
# Change that file, then run `python clients/python/make_sync.py`.
