from asking import ask_as_told
from google import genai
from google.genai.types import HttpOptions, HttpRetryOptions

client = genai.Client(http_options=HttpOptions(retry_options=HttpRetryOptions()))


def whole():
    return client.models.generate_content(model="demo-model", contents="Go on.").text


def stream():
    chunks = client.models.generate_content_stream(model="demo-model", contents="Go on.")
    return "".join(chunk.text for chunk in chunks)


ask_as_told(whole, stream)
