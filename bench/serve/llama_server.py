"""llama.cpp's own server in a process: `python bench/serve/llama_server.py FILE PORT SEQUENCES TOKENS THREADS`.

It needs nothing of Attune but the package that the runner uses too. Threads, batches and caches are its defaults.
"""

import signal
import sys

import xllamacpp


def main() -> None:
    """Serve until a signal ends it."""
    path, port, sequences, tokens, threads = sys.argv[1], *map(int, sys.argv[2:])
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.port, params.n_parallel, params.n_ctx = port, sequences, tokens
    params.cpuparams.n_threads = threads or -1
    params.kv_unified = True  # as its command has it where nobody chooses
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
