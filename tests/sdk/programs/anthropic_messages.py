from anthropic import Anthropic
from asking import ask_as_told

client = Anthropic()
request = {"model": "demo-model", "max_tokens": 1024, "messages": [{"role": "user", "content": "Go on."}]}


def whole():
    return client.messages.create(**request).content[0].text


def stream():
    with client.messages.stream(**request) as answer:
        return "".join(answer.text_stream)


ask_as_told(whole, stream)
