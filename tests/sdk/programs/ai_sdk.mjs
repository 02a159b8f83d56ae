import { openai } from "@ai-sdk/openai";
import { generateText, streamText } from "ai";

import { askAsTold } from "./asking.mjs";

const request = { model: openai("demo-model"), prompt: "Go on." };

await askAsTold({
  async whole() {
    return (await generateText(request)).text;
  },
  async stream() {
    let failure;
    // Its streams end without an error, which goes to onError and, without that, to the console.
    const answer = streamText({ ...request, onError: ({ error }) => (failure = error) });
    let text = "";
    for await (const piece of answer.textStream) {
      text += piece;
    }
    if (failure !== undefined) {
      throw failure;
    }
    return text;
  },
});
