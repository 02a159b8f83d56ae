"""Asks through a gateway with three official clients in turn, each in the way that it takes headers of one's own.

``through_a_gateway.py GATEWAY TOKEN RUN CALLS`` makes so many calls with each, and prints one line of JSON a call.
"""

import json
import sys
import traceback

from anthropic import Anthropic
from google import genai
from google.genai.types import HttpOptions
from openai import OpenAI

gateway, token, run, calls = sys.argv[1:]
headers = {"X-Leash-Token": token, "X-Loop-Id": run}


def with_openai():
    client = OpenAI(base_url=f"{gateway}/v1", api_key="sk-of-openai", default_headers=headers)
    messages = [{"role": "user", "content": "Go on."}]
    return client.chat.completions.create(model="demo-model", messages=messages).choices[0].message.content


def with_anthropic():
    client = Anthropic(base_url=gateway, api_key="sk-of-anthropic", default_headers=headers)
    messages = [{"role": "user", "content": "Go on."}]
    return client.messages.create(model="demo-model", max_tokens=1024, messages=messages).content[0].text


def with_gemini():
    client = genai.Client(api_key="key-of-gemini", http_options=HttpOptions(base_url=gateway, headers=headers))
    return client.models.generate_content(model="demo-model", contents="Go on.").text


for _ in range(int(calls)):
    for ask in (with_openai, with_anthropic, with_gemini):
        try:
            told = {"client": ask.__name__, "answered": ask()}
        except Exception as error:  # noqa: BLE001 - whatever the client raises is what is shown
            told = {"client": ask.__name__, "refused": "".join(traceback.format_exception_only(error)).strip()}
        print(json.dumps(told), flush=True)
