NEXT_TURN = "next turn"
STREAMS = (1, 8, 32)
Rates = dict[str, float]
