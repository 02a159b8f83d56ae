import OpenAI from "openai";

import { askAsTold } from "./asking.mjs";

const client = new OpenAI();
const request = { model: "demo-model", messages: [{ role: "user", content: "Go on." }] };

await askAsTold({
  async whole() {
    const completion = await client.chat.completions.create(request);
    return completion.choices[0].message.content;
  },
  async stream() {
    let text = "";
    for await (const chunk of await client.chat.completions.create({ ...request, stream: true })) {
      text += chunk.choices[0]?.delta?.content ?? "";
    }
    return text;
  },
});
