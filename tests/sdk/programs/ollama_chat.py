import ollama
from asking import ask_as_told

messages = [{"role": "user", "content": "Go on."}]


def whole():
    return ollama.chat(model="demo-model", messages=messages).message.content


def stream():
    parts = ollama.chat(model="demo-model", messages=messages, stream=True)
    return "".join(part.message.content for part in parts)


ask_as_told(whole, stream)
