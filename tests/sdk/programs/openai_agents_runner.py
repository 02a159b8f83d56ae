import asyncio

from agents import Agent, Runner
from asking import ask_as_told

agent = Agent(name="Goer", model="demo-model")


def whole():
    return Runner.run_sync(agent, "Go on.").final_output


def stream():
    async def streamed():
        run = Runner.run_streamed(agent, "Go on.")
        async for _ in run.stream_events():
            pass
        return run.final_output

    return asyncio.run(streamed())


ask_as_told(whole, stream)
