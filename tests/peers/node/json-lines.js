// What both programs share: JSON lines in and out, and errors in one line on stderr.
"use strict";

const fs = require("fs");
const path = require("path");

class BadInput extends Error {}

/** The objects on stdin, each with the `required` string members. */
function read(required) {
  const input = fs.readFileSync(0);
  const entries = [];
  // By hand: `readline` also ends a line at U+2028, which JSON may hold as it is.
  for (let start = 0; start < input.length; ) {
    const newline = input.indexOf(0x0a, start);
    const end = newline === -1 ? input.length : newline;
    const line = input.toString("utf8", start, end).trim();
    start = end + 1;
    if (line === "") continue;
    entries.push(parse(line, entries.length, required));
  }
  return entries;
}

function parse(line, index, required) {
  let entry;
  try {
    entry = JSON.parse(line);
  } catch (error) {
    throw new BadInput(`stdin entry ${index} is not JSON: ${error.message}`);
  }
  for (const name of required) {
    if (typeof entry?.[name] !== "string") throw new BadInput(`stdin entry ${index}: \`${name}\` must be a string`);
  }
  return entry;
}

/** The bytes of a base64 member; `Buffer` alone would skip over what is not base64. */
function decode(entry, name, index) {
  const bytes = Buffer.from(entry[name], "base64");
  if (bytes.toString("base64") !== entry[name]) {
    throw new BadInput(`stdin entry ${index}: \`${name}\` is not base64`);
  }
  return bytes;
}

/** One JSON object as one line on stdout. */
function write(value) {
  process.stdout.write(JSON.stringify(value) + "\n");
}

/** Runs `main`, with one line instead of a stack trace for what a caller can put right. */
function run(main) {
  const program = path.basename(process.argv[1]);
  process.stdout.on("error", (error) => process.exit(error.code === "EPIPE" ? 0 : 1));
  try {
    main();
  } catch (error) {
    if (error.code === "MODULE_NOT_FOUND") {
      console.error(`${program}: aws-kinesis-agg is missing; run \`npm ci\` in tests/peers/node`);
    } else if (error instanceof BadInput) {
      console.error(`${program}: ${error.message}`);
    } else {
      throw error;
    }
    process.exitCode = 1;
  }
}

module.exports = { BadInput, decode, read, run, write };
