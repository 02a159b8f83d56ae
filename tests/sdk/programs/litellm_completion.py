import litellm
from asking import ask_as_told

messages = [{"role": "user", "content": "Go on."}]


def whole():
    return litellm.completion(model="openai/demo-model", messages=messages).choices[0].message.content


def stream():
    chunks = litellm.completion(model="openai/demo-model", messages=messages, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


ask_as_told(whole, stream)
