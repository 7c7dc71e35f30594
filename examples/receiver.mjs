// A receiver of results from callback_sdk, for Node.js 18 or later, without dependencies.
//
//     WEBHOOK_SECRETS="whsec_... whpk_..." PORT=8080 node receiver.mjs
//
// It verifies each webhook (Standard Webhooks, v1 and v1a) before it parses the body, calls `handle` once for each
// delivery, and responds with 200 after that. A delivery whose handler failed is accepted again. What was handled is
// remembered in memory: use a database that several processes or a restart share.

import { createHash, createHmac, createPublicKey, timingSafeEqual, verify } from "node:crypto";
import { createServer } from "node:http";
import { pathToFileURL } from "node:url";

const TOLERANCE = 5 * 60; // seconds between the timestamp and this machine's clock
const MAX_BYTES = 16 * 1024 * 1024;
const MAX_IDS = 100_000;
const RETRY_AFTER = "5";

/** Handles a result. It may run again after it has succeeded, if this process dies before it has responded. */
async function handle(result) {
  console.log(JSON.stringify({ job_id: result.job_id, success: result.success, results: result.results ?? null }));
}

class HttpError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Returns a key that verifies signatures of one scheme: a shared secret (whsec_) or a public key (whpk_). */
export function readKey(secret) {
  if (secret.startsWith("whsk_")) throw new Error("A receiver needs the public key (whpk_), not the secret key.");
  if (!secret.startsWith("whpk_")) {
    const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
    if (key.length < 24 || key.length > 64) throw new Error("A webhook secret must be the base64 of 24 to 64 bytes.");
    return { scheme: "v1", key };
  }
  const x = Buffer.from(secret.slice(5), "base64").toString("base64url");
  return { scheme: "v1a", key: createPublicKey({ format: "jwk", key: { kty: "OKP", crv: "Ed25519", x } }) };
}

function matches({ scheme, key }, signatures, content) {
  const found = signatures.filter((one) => one.startsWith(`${scheme},`)).map((one) => one.slice(scheme.length + 1));
  if (scheme === "v1a") return found.some((one) => verify(null, content, key, Buffer.from(one, "base64")));
  const expected = Buffer.from(createHmac("sha256", key).update(content).digest("base64"));
  return found.map((one) => equal(Buffer.from(one), expected)).some(Boolean);
}

function equal(one, other) {
  return one.length === other.length && timingSafeEqual(one, other);
}

/** Verifies a webhook by its raw body, and returns its id. */
export function verifyWebhook(keys, headers, body, now = Date.now() / 1000) {
  const [id, timestamp, signature] = ["id", "timestamp", "signature"].map((name) => headers[`webhook-${name}`]);
  if (!id || !timestamp || !signature) throw new HttpError(401, "A header of the webhook is missing.");
  const content = Buffer.concat([Buffer.from(`${id}.${timestamp}.`, "latin1"), body]);
  // All keys are compared: how long it takes must not tell which one matched.
  if (!keys.map((key) => matches(key, signature.split(" "), content)).some(Boolean))
    throw new HttpError(401, "Webhook signature verification failed.");
  if (!/^[0-9]{1,20}$/.test(timestamp) || Math.abs(Number(timestamp) - now) > TOLERANCE)
    throw new HttpError(401, "The webhook timestamp is outside the tolerance.");
  return id;
}

/** Parses a result document. Members that it doesn't know are kept. */
export function readResult(body) {
  let result;
  try {
    result = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch {
    throw new HttpError(422, "The result document is not valid JSON.");
  }
  const isResult =
    result !== null &&
    typeof result === "object" &&
    typeof result.job_id === "string" &&
    result.job_id !== "" &&
    ["Finished", "Canceled", "In Progress"].includes(result.status) &&
    (typeof result.success === "boolean" || result.status === "In Progress");
  if (!isResult) throw new HttpError(422, "The body is not a result document.");
  return result;
}

/** Reads at most MAX_BYTES of a body. */
async function readBody(request) {
  if (Number(request.headers["content-length"] ?? 0) > MAX_BYTES) throw new HttpError(413, "The body is too large.");
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > MAX_BYTES) throw new HttpError(413, "The body is too large.");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

const running = new Set();
const done = new Set();

/** Calls the handler unless the delivery was handled. The body counts too: see "Duplicates" in docs/webhooks.md. */
async function handleOnce(id, body, call) {
  const delivery = createHash("sha256").update(`${id}.`).update(body).digest("base64");
  if (done.has(delivery)) return;
  if (running.has(delivery)) throw new HttpError(503, "Another copy of this delivery is being handled.");
  running.add(delivery);
  try {
    await call();
    done.add(delivery);
    if (done.size > MAX_IDS) done.delete(done.values().next().value);
  } finally {
    running.delete(delivery);
  }
}

async function receive(keys, request) {
  if (request.method !== "POST") throw new HttpError(405, "Send a POST.");
  const body = await readBody(request);
  const id = verifyWebhook(keys, request.headers, body);
  const result = readResult(body);
  // An event of a job that has not ended: `result.progress`, ordered by `result.sequence`.
  if (result.status === "In Progress") return;
  await handleOnce(id, body, () => handle(result));
}

function respond(response, status, message) {
  const headers = status === 503 ? { "Retry-After": RETRY_AFTER } : {};
  // The rest of a body that was not read is not wanted.
  if (status === 413) headers.Connection = "close";
  response.writeHead(status, { "Content-Type": "application/json", ...headers });
  response.end(message === undefined ? "" : JSON.stringify({ error: message }));
}

export function serve(keys, port) {
  const server = createServer((request, response) => {
    receive(keys, request).then(
      () => respond(response, 200),
      (error) => {
        if (!(error instanceof HttpError)) console.error(error);
        respond(response, error.status ?? 500, error.status ? error.message : "The handler failed.");
      },
    );
  });
  return server.listen(port, "127.0.0.1");
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const keys = (process.env.WEBHOOK_SECRETS ?? "").split(" ").filter(Boolean).map(readKey);
  if (keys.length === 0) throw new Error("Set WEBHOOK_SECRETS to the secrets or public keys, separated by spaces.");
  const server = serve(keys, Number(process.env.PORT ?? 8080));
  server.on("listening", () => console.error(`listening on port ${server.address().port}`));
}
