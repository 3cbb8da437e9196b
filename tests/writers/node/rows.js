// Lines "key TAB value", with "TAB name TAB content" for each header, from standard input.
const { readFileSync } = require("node:fs");

module.exports = function rows() {
  const lines = readFileSync(0, "utf8").split("\n").filter(Boolean);
  return lines.map((line) => {
    const [key, value, ...rest] = line.split("\t");
    const headers = {};
    for (let at = 0; at < rest.length; at += 2) headers[rest[at]] = rest[at + 1];
    return { key, value, headers };
  });
};
