// What the programs of this folder have in common: they ask once for each word of their command line.
// "whole" and "stream" say how. For each, one line of JSON tells the answer, or an error as Node would show it first.

export async function askAsTold(ways) {
  for (const word of process.argv.slice(2)) {
    let told;
    try {
      told = { answered: await ways[word]() };
    } catch (error) {
      told = { refused: String(error) };
    }
    console.log(JSON.stringify(told));
  }
}
