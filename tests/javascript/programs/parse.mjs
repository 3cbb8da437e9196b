// Reads streams as the client does: of each line of standard input, a list of base64 pieces.
import { readFileSync } from "node:fs";
import { Parser } from "./client.mjs";

for (const line of readFileSync(0, "utf8").trim().split("\n")) {
  const parser = new Parser();
  const decoder = new TextDecoder();
  const read = (piece) => parser.feed(decoder.decode(Buffer.from(piece, "base64"), { stream: true }));
  const blocks = JSON.parse(line).flatMap(read);
  console.log(JSON.stringify({ blocks, retry: parser.retry }));
}
