// What every generator in JavaScript shares: the clock, the invented credentials, and the row of a signed URL.
"use strict";
const fs = require("node:fs");
const path = require("node:path");

const TIME = "2026-01-31T12:00:00Z";
const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...given) {
    super(...(given.length ? given : [RealDate.parse(TIME)]));
  }
  static now() {
    return RealDate.parse(TIME);
  }
};

const ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE";
const SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const SESSION_TOKEN = "FwoGZXIvYXdzEXAMPLE//////////wEaDEXAMPLE+TOKEN==";
const TYPE = "application/vnd.run+json";
const KEY = "runs/a b+c/42.json";
const LIFE = 3600;
const AWS = { store: "s3", access_key: ACCESS_KEY, secret: SECRET_KEY };

// `require("package/package.json")` fails where a package doesn't export it.
function version(name) {
  const file = path.join(__dirname, "node_modules", name, "package.json");
  return JSON.parse(fs.readFileSync(file, "utf8")).version;
}

class Rows {
  constructor(sdk, name, common) {
    this.common = { sdk, language: "JavaScript", version: version(name), time: TIME, ...common };
    this.rows = [];
  }
  // See recording.py for the members.
  add(call, form, url, { asked = {}, ...more } = {}) {
    this.rows.push({ ...this.common, call, form, url: String(url), asked, ...more });
  }
}

function write(...sdks) {
  process.stdout.write(`${JSON.stringify(sdks.flatMap((sdk) => sdk.rows), null, 1)}\n`);
}

module.exports = { TIME, ACCESS_KEY, SECRET_KEY, SESSION_TOKEN, TYPE, KEY, LIFE, AWS, Rows, write };
