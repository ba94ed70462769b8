"""`python -m attune` is the command `attune`."""

from attune.cli import main

if __name__ == "__main__":
    main()
