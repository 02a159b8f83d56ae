from asking import ask_as_told
from openai import OpenAI

client = OpenAI()
messages = [{"role": "user", "content": "Go on."}]


def whole():
    completion = client.chat.completions.create(model="demo-model", messages=messages)
    return completion.choices[0].message.content


def stream():
    chunks = client.chat.completions.create(model="demo-model", messages=messages, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


ask_as_told(whole, stream)
