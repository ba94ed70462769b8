"""`python -m tests.service.parrot_server --data DIR --port N`: the real server process with a parrot for a model."""

import argparse

from service.serving import run
from tests.service.parrot import ParrotModel

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--data")
    parser.add_argument("--port", type=int)
    run({**vars(parser.parse_args()), "model": "parrot", "no_learner": True}, None, lambda settings: ParrotModel())
