"""The program that ``leashctl demo`` puts under a budget: a loop of ten calls.

It knows nothing of leash, and asks whatever ``OPENAI_BASE_URL`` says.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request

_BODY = {"model": "demo-model", "messages": [{"role": "user", "content": "Go on."}]}


def main() -> None:
    """Makes the calls, and tells what came of each."""
    url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
    for number in range(1, 11):
        request = urllib.request.Request(  # noqa: S310 (the address is the one that wrap has set)
            url, json.dumps(_BODY).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request) as answer:  # noqa: S310
                usage = json.load(answer)["usage"]
                told = f"{usage['prompt_tokens']} + {usage['completion_tokens']} tokens"
                print(f"call {number}: {answer.status} {told}", flush=True)  # noqa: T201 (it is a program of its own)
        except urllib.error.HTTPError as refusal:
            message = json.load(refusal)["error"]["message"]
            print(f"call {number}: {refusal.code} {message}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
