"""The time from the sixteenth choice to the first answer of the version that learned from it.

    python -m bench.first_answer --url http://127.0.0.1:8000 [--taste short] [--clients 2]

It needs a service on a fresh data folder and without other load. `clients` more ask all the while, without a pause. A
fixed taste answers sixteen comparisons as fast as
the service gives them. Then one question is repeated until another version answers it. Times are in seconds.
"""

import argparse
import threading
import time

import httpx

from bench.record import record

TASTES = {"short": lambda text: -len(text), "long": len}
ASKED = [
    "Hello!",
    "Who are you?",
    "What is 7 + 5?",
    "What is the capital of France?",
    "Tell me a joke.",
    "Spell the word house.",
    "Name three animals.",
    "What colour is the sky?",
]


def ask_on(url: str, number: int) -> None:
    """Ask for long answers for ever, one after the other."""
    with httpx.Client(base_url=url, timeout=300) as http:
        while True:
            messages = [{"role": "user", "content": f"Tell me a long story about {number + 2} ships."}]
            body = {"model": "attune", "messages": messages, "max_tokens": 256}
            http.post("/v1/chat/completions", json=body).raise_for_status()


def main() -> None:
    """Measure once, print, and write bench/results/first_answer.json, with clients first_answer_busy.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--taste", choices=TASTES, default="short")
    parser.add_argument("--clients", type=int, default=0)
    asked = parser.parse_args()
    for number in range(asked.clients):
        threading.Thread(target=ask_on, args=(asked.url, number), daemon=True).start()
    http = httpx.Client(base_url=asked.url, timeout=60)

    def answering() -> str:
        body = {"model": "attune", "messages": [{"role": "user", "content": "Name three animals."}], "max_tokens": 24}
        return str(http.post("/v1/chat/completions", json=body).raise_for_status().json()["model"])

    before, useful, began_choices = answering(), 0, time.monotonic()
    while useful < 16:
        question = {"messages": [{"role": "user", "content": ASKED[useful % len(ASKED)]}]}
        shown = http.post("/v1/comparisons", json=question).raise_for_status().json()
        fits = [TASTES[asked.taste](candidate["content"]) for candidate in shown["candidates"]]
        winner = "tie" if fits[0] == fits[1] else "AB"[fits[1] > fits[0]]
        http.post(f"/v1/comparisons/{shown['id']}/choice", json={"winner": winner}).raise_for_status()
        useful += winner != "tie"
    sixteenth = time.monotonic()
    while (now_answering := answering()) == before:
        if time.monotonic() - sixteenth > 900:
            raise SystemExit(f"after 900 s still {before} answers")
        time.sleep(0.1)
    seconds = time.monotonic() - sixteenth
    choices_s = sixteenth - began_choices
    print(
        f"{seconds:.1f} s from the sixteenth choice to {now_answering}'s first answer ({choices_s:.1f} s for choices)"
    )
    record(
        "first_answer_busy" if asked.clients else "first_answer",
        {
            "clients": asked.clients,
            "taste": asked.taste,
            "seconds": round(seconds, 2),
            "choices_s": round(choices_s, 2),
            "version": now_answering,
        },
    )


if __name__ == "__main__":
    main()
