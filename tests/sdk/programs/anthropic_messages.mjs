import Anthropic from "@anthropic-ai/sdk";

import { askAsTold } from "./asking.mjs";

const client = new Anthropic();
const request = { model: "demo-model", max_tokens: 1024, messages: [{ role: "user", content: "Go on." }] };

await askAsTold({
  async whole() {
    return (await client.messages.create(request)).content[0].text;
  },
  async stream() {
    return await client.messages.stream(request).finalText();
  },
});
