"""OpenVINO GenAI without a server: `python bench/serve/bare_openvino.py FOLDER THREADS own|float32`.

It reads lists of requests from its input, one list a line, and writes what came and when: the ceiling of what a server
around it can reach. With `own` its settings are the library's, which take 16 and 8 bits where the processor can. With
`float32` they are those of Attune's runner. The prefix cache is on.
"""

import json
import sys
import time
from typing import Any

import numpy as np
import openvino as ov
import openvino_genai as genai

PROPERTIES: dict[str, dict[str, Any]] = {
    "own": {},
    "float32": {
        "INFERENCE_PRECISION_HINT": "f32",
        "KV_CACHE_PRECISION": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
    },
}


def main() -> None:
    """Answer until the input ends."""
    scheduler = genai.SchedulerConfig()
    scheduler.enable_prefix_caching = True
    chosen = {"INFERENCE_NUM_THREADS": int(sys.argv[2]), **PROPERTIES[sys.argv[3]]}  # 0 leaves it to the library
    pipeline = genai.ContinuousBatchingPipeline(sys.argv[1], scheduler, "CPU", chosen)
    print("ready", flush=True)
    number = 0
    for line in sys.stdin:
        requests = json.loads(line)
        print(json.dumps(answers(pipeline, requests, number)), flush=True)
        number += len(requests)


def answers(pipeline: Any, requests: list[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    """Generate completions to all prompts at once; return token ids and times of each."""
    handles: list[Any] = []
    found: list[dict[str, Any]] = []
    for index, request in enumerate(requests):
        prompt = ov.Tensor(np.array([request["prompt_ids"]], dtype=np.int64))
        found.append({"began": time.monotonic(), "ids": [], "arrivals": []})
        handles.append(pipeline.add_request(number + index, prompt, config_of(request)))
    while pipeline.has_non_finished_requests():
        pipeline.step()
        at = time.monotonic()
        for handle, one in zip(handles, found, strict=True):
            while handle.can_read():
                for output in handle.read().values():
                    one["ids"] += output.generated_ids
                    one["arrivals"].append(at)
    return found


def config_of(request: dict[str, Any]) -> Any:
    """Return the library's settings of a request; no token ends it."""
    config = genai.GenerationConfig()
    config.max_new_tokens, config.rng_seed = request["max_tokens"], request["seed"]
    config.set_eos_token_id(0)  # it needs one, and ignores it
    config.ignore_eos = True
    config.do_sample = True
    config.temperature, config.top_p, config.top_k = (request[name] for name in ("temperature", "top_p", "top_k"))
    return config


if __name__ == "__main__":
    main()
