from asking import ask_as_told
from langchain_anthropic import ChatAnthropic

model = ChatAnthropic(model="demo-model", max_tokens=1024)


def whole():
    return model.invoke("Go on.").text


def stream():
    return "".join(chunk.text for chunk in model.stream("Go on."))


ask_as_told(whole, stream)
