from asking import ask_as_told
from litellm import Router

router = Router(model_list=[{"model_name": "demo", "litellm_params": {"model": "openai/demo-model"}}])
messages = [{"role": "user", "content": "Go on."}]


def whole():
    return router.completion(model="demo", messages=messages).choices[0].message.content


def stream():
    chunks = router.completion(model="demo", messages=messages, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


ask_as_told(whole, stream)
