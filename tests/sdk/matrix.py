"""The official clients that are measured, and what is known of each beforehand. Their versions are in the pins."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One client and its program.

    ``environment`` is a requirement file of ``clients/``, or ``node``. ``requests`` is how many a final refusal costs
    with the client's own settings, and ``setting`` what turns its retries off. ``retries`` says that it tries again by
    itself after a transient refusal.
    """

    name: str
    package: str
    environment: str
    program: str
    setting: str
    requests: int = 1
    retries: bool = True

    @property
    def run(self) -> str:
        """The name of its run."""
        return "measured-" + self.program.replace("_", "-").replace(".", "-")


CLIENTS = (
    Client(
        name="`openai`, Python",
        package="openai",
        environment="shared",
        program="openai_chat.py",
        setting="`OpenAI(max_retries=0)`",
    ),
    Client(
        name="`anthropic`, Python",
        package="anthropic",
        environment="shared",
        program="anthropic_messages.py",
        setting="`Anthropic(max_retries=0)`",
    ),
    Client(
        name="`google-genai`",
        package="google-genai",
        environment="shared",
        program="google_genai.py",
        setting="off, until `retry_options` are given",
        retries=False,
    ),
    Client(
        name="`google-genai` with `HttpRetryOptions()`",
        package="google-genai",
        environment="shared",
        program="google_genai_retrying.py",
        setting="`HttpRetryOptions(attempts=1)`",
    ),
    Client(
        name="`ollama`, Python",
        package="ollama",
        environment="shared",
        program="ollama_chat.py",
        setting="it has no retries",
        retries=False,
    ),
    Client(
        name="`litellm`",
        package="litellm",
        environment="litellm",
        program="litellm_completion.py",
        setting="`completion(…, max_retries=0)`",
    ),
    Client(
        name="`litellm`, its `Router`",
        package="litellm",
        environment="litellm",
        program="litellm_router.py",
        setting="`Router(num_retries=0)`, or `--refusal-status 400`",
        requests=3,
    ),
    Client(
        name="`langchain-openai`",
        package="langchain-openai",
        environment="shared",
        program="langchain_openai_chat.py",
        setting="`ChatOpenAI(max_retries=0)`",
    ),
    Client(
        name="`langchain-anthropic`",
        package="langchain-anthropic",
        environment="shared",
        program="langchain_anthropic_chat.py",
        setting="`ChatAnthropic(max_retries=0)`",
    ),
    Client(
        name="`pydantic-ai`",
        package="pydantic-ai",
        environment="shared",
        program="pydantic_ai_agent.py",
        setting='`model_settings={"max_retries": 0}`',
    ),
    Client(
        name="`openai-agents`",
        package="openai-agents",
        environment="shared",
        program="openai_agents_runner.py",
        setting="`set_default_openai_client(AsyncOpenAI(max_retries=0))`",
    ),
    Client(
        name="`openai`, Node",
        package="openai",
        environment="node",
        program="openai_chat.mjs",
        setting="`new OpenAI({ maxRetries: 0 })`",
    ),
    Client(
        name="`@anthropic-ai/sdk`",
        package="@anthropic-ai/sdk",
        environment="node",
        program="anthropic_messages.mjs",
        setting="`new Anthropic({ maxRetries: 0 })`",
    ),
    Client(
        name="`ai` with `@ai-sdk/openai`",
        package="ai",
        environment="node",
        program="ai_sdk.mjs",
        setting="`generateText({ …, maxRetries: 0 })`",
    ),
)
