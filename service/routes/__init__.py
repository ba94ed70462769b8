"""One file per noun of the HTTP contract: parse, call one function, answer."""
