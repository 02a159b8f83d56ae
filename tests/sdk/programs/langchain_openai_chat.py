from asking import ask_as_told
from langchain_openai import ChatOpenAI

model = ChatOpenAI(model="demo-model")


def whole():
    return model.invoke("Go on.").text


def stream():
    return "".join(chunk.text for chunk in model.stream("Go on."))


ask_as_told(whole, stream)
