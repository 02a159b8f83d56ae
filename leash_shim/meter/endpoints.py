"""Which endpoints there are: those that are metered, those that are free, and why the others cannot be metered.

The rule: a metered endpoint is a POST to a path with this end, whatever comes before it: /v1, /openai/v1, a proxy's
own prefix, an Azure deployment. A free one stands at the root, or right after a version or a provider's name, so that
an end such as /files below another resource (a vector store, which bills for what is put into it) does not count.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from leash_shim.meter.anthropic import ANTHROPIC_MESSAGES
from leash_shim.meter.gemini import GEMINI_CONTENT, GEMINI_EMBEDDINGS
from leash_shim.meter.ollama import OLLAMA_EMBED, OLLAMA_GENERATE
from leash_shim.meter.openai_chat import OPENAI_CHAT
from leash_shim.meter.openai_completions import OPENAI_COMPLETIONS
from leash_shim.meter.openai_embeddings import OPENAI_EMBEDDINGS
from leash_shim.meter.openai_media import OPENAI_IMAGES, OPENAI_SPEECH, OPENAI_TRANSCRIPTIONS
from leash_shim.meter.openai_responses import OPENAI_RESPONSES

if TYPE_CHECKING:
    from leash_shim.meter.wire import WireFormat

# The first that is found wins. A server may take /Chat/completions for chat, so that it is no text completion.
# /messages below a thread or a stored completion is OpenAI's, and generates nothing; /api/embeddings is Ollama's older
# one, which tells no counts.
METERED: tuple[tuple[re.Pattern[str], WireFormat, str], ...] = (
    (re.compile(r"/chat/completions\Z"), OPENAI_CHAT, "openai"),
    (re.compile(r"(?<!/[Cc][Hh][Aa][Tt])/completions\Z"), OPENAI_COMPLETIONS, "openai"),
    (re.compile(r"/responses(?:/compact)?\Z"), OPENAI_RESPONSES, "openai"),
    (re.compile(r"\A(?!.*/(?:threads|completions)/[^/]+/).*/messages\Z"), ANTHROPIC_MESSAGES, "anthropic"),
    (
        re.compile(r"/publishers/anthropic/models/(?!count-tokens:)[^/]+:(?:rawPredict|streamRawPredict)\Z"),
        ANTHROPIC_MESSAGES,
        "anthropic",
    ),
    (re.compile(r"/[^/]+:(?:generateContent|streamGenerateContent)\Z"), GEMINI_CONTENT, "gemini"),
    (re.compile(r"/[^/]+:(?:embedContent|batchEmbedContents)\Z"), GEMINI_EMBEDDINGS, "gemini"),
    (re.compile(r"/api/(?:chat|generate)\Z"), OLLAMA_GENERATE, "ollama"),
    (re.compile(r"/api/embed\Z"), OLLAMA_EMBED, "ollama"),
    (re.compile(r"(?<!/api)/embeddings\Z"), OPENAI_EMBEDDINGS, "openai"),
    (re.compile(r"/images/(?:generations|edits)\Z"), OPENAI_IMAGES, "openai"),
    (re.compile(r"/audio/transcriptions\Z"), OPENAI_TRANSCRIPTIONS, "openai"),
    (re.compile(r"/audio/speech\Z"), OPENAI_SPEECH, "openai"),
)

FREE_POST = re.compile(
    r"""(?:\A|/(?:v\d+[a-z0-9]*|openai|anthropic|gemini|google|ollama))(?:
      /messages/count_tokens                    # Anthropic
    | /models/[^/]+:(?:countTokens|computeTokens)  # Gemini, Vertex
    | /models/count-tokens:rawPredict           # Anthropic on Vertex
    | /responses/(?:input_tokens|[^/]+/cancel)  # OpenAI
    | /moderations
    | /files                                    # OpenAI, Anthropic, Gemini: uploads
    | /uploads(?:/[^/]+(?:/(?:parts|complete|cancel))?)?  # OpenAI: a file in parts
    | /batches/[^/]+/cancel                     # OpenAI
    | /messages/batches/[^/]+/cancel            # Anthropic
    | /fine_tuning/jobs/[^/]+/(?:cancel|pause)  # OpenAI
    | /(?:de)?tokenize                          # vLLM, llama.cpp
    | /api/(?:show|pull|push|copy|create|blobs/[^/]+)  # Ollama: its store of models
    )\Z""",
    re.VERBOSE,
)

# What a GET opens as a WebSocket and then generates through: OpenAI's realtime, live and responses, Gemini's live; and
# Google's methods, which nothing gets.
SOCKET = re.compile(r"/(?:realtime|live|responses)\Z|/ws/|BidiGenerateContent|:[A-Za-z]+\Z")

# Why an endpoint that bills cannot be metered, and what to use in its place, as sentences without their full stops.
UNMETERABLE: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"/batches\Z|:(?:async)?[bB]atch\w+\Z|batchPredictionJobs"),
        (
            "a batch bills when it is worked off, and its usage is not in the answer that accepts it; make its "
            "calls one by one"
        ),
    ),
    (
        re.compile(r"/fine[-_]tun|/tunedModels\b|tuningJobs"),
        "training bills when it has ended, and its usage is not in the answer that accepts it; start it without leash",
    ),
    (
        re.compile(r"/videos?(?:/|\Z)|:predictLongRunning\Z"),
        ("video bills by the second, and its usage is not in the answer that accepts it; make it without leash"),
    ),
    (
        re.compile(r"/realtime\b|/live\b|/ws/|BidiGenerateContent"),
        (
            "realtime sessions bill for what goes over a WebSocket or WebRTC, which does not pass here; use the "
            "provider's HTTP endpoints"
        ),
    ),
    (
        re.compile(r"/threads\b|/assistants\b"),
        (
            "the runs of an assistant bill in the background, and their usage is not in the answer that accepts "
            "them; use the responses endpoint"
        ),
    ),
    (
        re.compile(r"/audio/translations\Z|/images/variations\Z"),
        (
            "this endpoint bills by the second or by the picture, and no tokens are on the wire; use a transcription, "
            "or an edit, of a model that bills by tokens"
        ),
    ),
    (
        re.compile(r"/vector_stores\b|/containers\b|/cachedContents\Z|/conversations\b"),
        "what is stored there bills by size and time, and no usage is on the wire; set it up without leash",
    ),
    (re.compile(r"/v1/complete\Z"), "text completions of Anthropic report no usage; use the messages endpoint"),
    (re.compile(r"/api/embeddings\Z"), "this older endpoint of Ollama tells no counts; use /api/embed"),
    (
        re.compile(r"/model/[^/]+/(?:converse|invoke)|:(?:predict|rawPredict|streamRawPredict)\Z"),
        (
            "leash does not read the wire format of this endpoint; use the provider's endpoint in OpenAI's, "
            "Anthropic's or Gemini's format"
        ),
    ),
)
UNKNOWN = "this endpoint is unknown to leash, and may bill without telling; use one that leash meters"
