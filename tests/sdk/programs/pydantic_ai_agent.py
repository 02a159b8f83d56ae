import asyncio

from asking import ask_as_told
from pydantic_ai import Agent

agent = Agent("openai:demo-model")


def whole():
    return agent.run_sync("Go on.").output


def stream():
    async def streamed():
        async with agent.run_stream("Go on.") as answer:
            return await answer.get_output()

    return asyncio.run(streamed())


ask_as_told(whole, stream)
