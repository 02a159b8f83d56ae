"""Which environment variables name a provider's address, and where their readers go when they are not set.

The rule: a program under leash reaches the provider that it would have reached without leash. So a variable that
nobody has set is only set where all its known readers go to one default, and where none of them takes a set one as a
choice of provider. The names, defaults and ways to join paths were read in, and most of them run with, the packages
themselves; docs/agents.md tells which. Pure, and cheap to import.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Variables whose readers fall back from one to the other, so that one that is set stands in for the rest.

    ``name`` is the mount's. ``default_url`` is where the readers go with none set; empty where that is not certain, so
    that nothing is redirected until the person sets one. ``bare`` marks a default whose path some readers expect in
    the value and others append: the child's value has none, and the mount puts in what a request lacks.
    """

    name: str
    variables: tuple[str, ...]
    default_url: str = ""
    bare: bool = False
    yields_to: str = ""


# What takes requests that name no mount and whose provider has none.
DEFAULT_MOUNT = "openai"

# The first four bear the names that the routes give to providers, for requests without a mount.
PROVIDERS = (
    # Only openai's default carries a path, since its SDK appends no version.
    Family(name="openai", variables=("OPENAI_BASE_URL", "OPENAI_API_BASE"), default_url="https://api.openai.com/v1"),
    # The official SDKs and LiteLLM append /v1/messages, the AI SDK for JavaScript appends /messages.
    Family(
        name="anthropic",
        variables=("ANTHROPIC_BASE_URL", "ANTHROPIC_API_URL", "ANTHROPIC_API_BASE"),
        default_url="https://api.anthropic.com/v1",
        bare=True,
    ),
    Family(
        name="gemini", variables=("GOOGLE_GEMINI_BASE_URL",), default_url="https://generativelanguage.googleapis.com"
    ),
    # Also what `ollama serve` listens on: under leash it finds its port taken, so it belongs outside.
    Family(name="ollama", variables=("OLLAMA_HOST",), default_url="http://127.0.0.1:11434"),
)

# Variables of one reader or one convention each, with the value that stands for its default.
_SET = (
    # goose. Its OPENAI_HOST goes before OPENAI_BASE_URL, which mounts.py sees to.
    ("OPENAI_HOST", "https://api.openai.com"),
    ("ANTHROPIC_HOST", "https://api.anthropic.com"),
    # The vendors' own SDKs, which append the whole path.
    ("CO_API_URL", "https://api.cohere.com"),
    ("CO_BASE_URL", "https://api.cohere.com"),
    ("GROQ_BASE_URL", "https://api.groq.com"),
    # LangChain, pydantic-ai and CrewAI.
    ("DEEPINFRA_BASE_URL", "https://api.deepinfra.com/v1/openai"),
    ("DEEPSEEK_BASE_URL", "https://api.deepseek.com/v1"),
    ("MISTRAL_BASE_URL", "https://api.mistral.ai/v1"),
    ("MOONSHOTAI_BASE_URL", "https://api.moonshot.ai/v1"),
    ("OPENROUTER_BASE_URL", "https://openrouter.ai/api/v1"),
    ("SAMBANOVA_BASE_URL", "https://api.sambanova.ai/v1"),
    ("TOGETHER_API_BASE", "https://api.together.xyz/v1/"),
    # LiteLLM, which appends /chat/completions.
    ("AI21_API_BASE", "https://api.ai21.com/studio/v1"),
    ("CEREBRAS_API_BASE", "https://api.cerebras.ai/v1"),
    ("CODESTRAL_API_BASE", "https://codestral.mistral.ai/v1"),
    ("DEEPINFRA_API_BASE", "https://api.deepinfra.com/v1/openai"),
    ("DEEPSEEK_ANTHROPIC_API_BASE", "https://api.deepseek.com/anthropic"),
    # LangChain would go to /v1, to which /beta adds: all that works there works here.
    ("DEEPSEEK_API_BASE", "https://api.deepseek.com/beta"),
    ("FRIENDLI_API_BASE", "https://api.friendli.ai/serverless/v1"),
    ("HYPERBOLIC_API_BASE", "https://api.hyperbolic.xyz/v1"),
    ("INCEPTION_API_BASE", "https://api.inceptionlabs.ai/v1"),
    ("LAMBDA_API_BASE", "https://api.lambda.ai/v1"),
    ("LLAMA_API_BASE", "https://api.llama.com/compat/v1"),
    ("LLAMAFILE_API_BASE", "http://127.0.0.1:8080/v1"),
    # What LiteLLM reads for Mistral's own API as well.
    ("MISTRAL_AZURE_API_BASE", "https://api.mistral.ai/v1"),
    ("MOONSHOT_API_BASE", "https://api.moonshot.ai/v1"),
    ("MORPH_API_BASE", "https://api.morphllm.com/v1"),
    ("NEBIUS_API_BASE", "https://api.studio.nebius.ai/v1"),
    ("NOVITA_API_BASE", "https://api.novita.ai/v3/openai"),
    ("NSCALE_API_BASE", "https://inference.api.nscale.com/v1"),
    ("NVIDIA_NIM_API_BASE", "https://integrate.api.nvidia.com/v1"),
    ("OLLAMA_API_BASE", "http://localhost:11434"),
    ("OPENROUTER_API_BASE", "https://openrouter.ai/api/v1"),
    ("PERPLEXITY_API_BASE", "https://api.perplexity.ai"),
    ("SAMBANOVA_API_BASE", "https://api.sambanova.ai/v1"),
    ("TOGETHER_AI_API_BASE", "https://api.together.ai/v1"),
    ("V0_API_BASE", "https://api.v0.dev/v1"),
    ("VERCEL_AI_GATEWAY_API_BASE", "https://ai-gateway.vercel.sh/v1"),
    ("VOLCENGINE_API_BASE", "https://ark.cn-beijing.volces.com/api/v3"),
    ("ZAI_API_BASE", "https://api.z.ai/api/paas/v4"),
)

_BARE = (
    # The vendor's SDK appends /v1, CrewAI does not.
    ("CEREBRAS_BASE_URL", "https://api.cerebras.ai/v1"),
    # The vendor's SDK goes to /inference/v1 by itself, but appends only /v1 to an address that it is given.
    ("FIREWORKS_BASE_URL", "https://api.fireworks.ai/inference/v1"),
    # LiteLLM appends no version, LangChain leaves it to the vendor's SDK.
    ("FIREWORKS_API_BASE", "https://api.fireworks.ai/inference/v1"),
    ("GROQ_API_BASE", "https://api.groq.com/openai/v1"),
    # LiteLLM appends a version to some of its requests and none to others.
    ("GEMINI_API_BASE", "https://generativelanguage.googleapis.com/v1beta"),
    ("MISTRAL_API_BASE", "https://api.mistral.ai/v1"),
    ("XAI_API_BASE", "https://api.x.ai/v1"),
    # The vendor's SDK appends /v1 since its version 3, and nothing before.
    ("TOGETHER_BASE_URL", "https://api.together.ai/v1"),
)

_ONLY_WHEN_SET = (
    # No default: the address is the person's own.
    ("AZURE_AI_API_BASE", "azure_ai_api_base"),
    ("AZURE_API_BASE", "azure_api_base"),
    ("AZURE_OPENAI_ENDPOINT", "azure"),
    ("ANTHROPIC_FOUNDRY_BASE_URL", "anthropic_foundry_base_url"),
    ("HOSTED_VLLM_API_BASE", "hosted_vllm_api_base"),
    ("LITELLM_PROXY_API_BASE", "litellm_proxy_api_base"),
    ("LM_STUDIO_API_BASE", "lm_studio_api_base"),
    ("OLLAMA_BASE_URL", "ollama_base_url"),
    ("OPENAI_LIKE_API_BASE", "openai_like_api_base"),
    ("VLLM_BASE_URL", "vllm_base_url"),
    # Their default hangs on the region, which may stand in the program.
    ("ANTHROPIC_VERTEX_BASE_URL", "anthropic_vertex_base_url"),
    ("GOOGLE_VERTEX_BASE_URL", "google_vertex_base_url"),
    ("VERTEXAI_API_BASE", "vertexai_api_base"),
    # LiteLLM's default was abroad once and is in China now, CrewAI's is abroad; keys hold in one of the two.
    ("DASHSCOPE_API_BASE", "dashscope_api_base"),
    ("DASHSCOPE_BASE_URL", "dashscope_base_url"),
    # Codex asks Ollama or LM Studio, each at its own port; this variable would override both alike.
    ("CODEX_OSS_BASE_URL", "codex_oss_base_url"),
    # To set it is to choose one's own provider instead of GitHub's.
    ("COPILOT_PROVIDER_BASE_URL", "copilot_provider_base_url"),
    # LiteLLM reads it with three defaults: for chat, for messages and for speech.
    ("MINIMAX_API_BASE", "minimax_api_base"),
)

# Which variable stands behind another for the same readers: LangChain's Groq and Fireworks, LiteLLM's DeepSeek.
_YIELDS_TO = {
    "DEEPSEEK_ANTHROPIC_API_BASE": "DEEPSEEK_API_BASE",
    "FIREWORKS_API_BASE": "FIREWORKS_BASE_URL",
    "GROQ_API_BASE": "GROQ_BASE_URL",
}


def _single(variable: str, url: str, *, bare: bool) -> Family:
    return Family(
        name=variable.lower(),
        variables=(variable,),
        default_url=url,
        bare=bare,
        yields_to=_YIELDS_TO.get(variable, ""),
    )


FAMILIES = (
    *PROVIDERS,
    *(_single(variable, url, bare=False) for variable, url in _SET),
    *(_single(variable, url, bare=True) for variable, url in _BARE),
    *(Family(name=name, variables=(variable,)) for variable, name in _ONLY_WHEN_SET),
)

# Providers that tell a stream's usage unasked, and refuse a request that asks for it.
_REPORTING_UNASKED = ("https://api.mistral.ai", "https://codestral.mistral.ai")


def reports_unasked(origin: str) -> bool:
    """Whether the provider at this origin tells the usage of a stream without being asked, and must not be asked."""
    return origin in _REPORTING_UNASKED
