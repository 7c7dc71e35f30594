// Google's, Azure's, Alibaba's, Tencent's and Huawei's SDKs.
"use strict";
const crypto = require("node:crypto");
const { TYPE, KEY, LIFE, Rows, write } = require("./rows");

const EMAIL = "worker@project.iam.gserviceaccount.com";
const ACCOUNT_KEY = "aW52ZW50ZWQga2V5IG9mIGFuIGFjY291bnQgdGhhdCBkb2Vzbid0IGV4aXN0";
const lower = (headers) => Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));

async function google() {
  const { Storage } = require("@google-cloud/storage");
  const { privateKey, publicKey } = crypto.generateKeyPairSync("rsa", {
    modulusLength: 2048,
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
    publicKeyEncoding: { type: "spki", format: "pem" },
  });
  const credentials = { client_email: EMAIL, private_key: privateKey };
  const file = new Storage({ projectId: "project", credentials }).bucket("bucket").file(KEY);
  const rows = new Rows("@google-cloud/storage", "@google-cloud/storage",
    { store: "gcs", access_key: EMAIL, public_key: publicKey });
  const expires = Date.now() + LIFE * 1000;
  const meta = { "x-goog-meta-run": "42" };
  for (const version of ["v4", "v2"]) {
    for (const [form, options, asked] of [
      ["plain", {}, {}],
      ["contentType", { contentType: TYPE }, { "content-type": TYPE }],
      ["extensionHeaders", { extensionHeaders: meta }, meta],
      ["virtualHostedStyle", { virtualHostedStyle: true }, {}],
    ]) {
      const [url] = await file.getSignedUrl({ version, action: "write", expires, ...options });
      rows.add(`getSignedUrl('write'), ${version}`, form, url, { asked });
    }
    const [url] = await file.getSignedUrl({ version, action: "resumable", expires });
    rows.add(`getSignedUrl('resumable'), ${version}`, "plain", url,
      { method: "POST", asked: { "x-goog-resumable": "start" } });
  }
  const [made] = await file.generateSignedPostPolicyV4({
    expires,
    conditions: [["content-length-range", 1, 1000]],
    fields: { "Content-Type": TYPE, ...meta },
  });
  rows.add("generateSignedPostPolicyV4", "fields, content-length-range", made.url,
    { fields: made.fields, asked: { "Content-Type": TYPE, ...meta } });
  const [old] = await file.generateSignedPostPolicyV2({ expires, contentLengthRange: { min: 1, max: 1000 } });
  rows.add("generateSignedPostPolicyV2", "contentLengthRange", "https://storage.googleapis.com/bucket/",
    { fields: { key: KEY, GoogleAccessId: EMAIL, policy: old.base64, signature: old.signature } });
  return rows;
}

function azure() {
  const {
    AccountSASPermissions, AccountSASResourceTypes, AccountSASServices, BlobSASPermissions, ContainerSASPermissions,
    SASProtocol, StorageSharedKeyCredential, generateAccountSASQueryParameters, generateBlobSASQueryParameters,
  } = require("@azure/storage-blob");
  const rows = new Rows("@azure/storage-blob", "@azure/storage-blob",
    { store: "azure", access_key: "account", secret: ACCOUNT_KEY });
  const key = new StorageSharedKeyCredential("account", ACCOUNT_KEY);
  const expiresOn = new Date(Date.now() + LIFE * 1000);
  const one = { containerName: "container", blobName: KEY, expiresOn };
  const blob = "https://account.blob.core.windows.net/container/runs/a%20b%2Bc/42.json";
  const add = (call, form, sas) => rows.add(call, form, `${blob}?${sas}`);
  const permissions = BlobSASPermissions.parse("cw");
  const call = "generateBlobSASQueryParameters";
  add(call, "cw", generateBlobSASQueryParameters({ ...one, permissions }, key));
  add(call, "startsOn, ipRange, protocol", generateBlobSASQueryParameters({
    ...one, permissions, startsOn: new Date(), ipRange: { start: "192.0.2.1", end: "192.0.2.9" },
    protocol: SASProtocol.Https,
  }, key));
  add(call, "contentType", generateBlobSASQueryParameters({ ...one, permissions, contentType: TYPE }, key));
  add(call, "container", generateBlobSASQueryParameters(
    { containerName: "container", expiresOn, permissions: ContainerSASPermissions.parse("cw") }, key));
  const delegated = {
    signedObjectId: "11111111-1111-1111-1111-111111111111", signedTenantId: "22222222",
    signedStartsOn: new Date(), signedExpiresOn: expiresOn, signedService: "b", signedVersion: "2024-11-04",
    value: ACCOUNT_KEY,
  };
  add(call, "user delegation key", generateBlobSASQueryParameters({ ...one, permissions }, delegated, "account"));
  add("generateAccountSASQueryParameters", "object, w", generateAccountSASQueryParameters({
    expiresOn, permissions: AccountSASPermissions.parse("w"), services: AccountSASServices.parse("b").toString(),
    resourceTypes: AccountSASResourceTypes.parse("o").toString(),
  }, key));
  return rows;
}

const OSS = { store: "oss", access_key: "AKIDEXAMPLE", secret: "secretEXAMPLE" };

async function alibaba() {
  const Client = require("ali-oss");
  const rows = new Rows("ali-oss", "ali-oss", OSS);
  const options = {
    region: "oss-cn-hangzhou", bucket: "bucket", secure: true, accessKeyId: OSS.access_key, accessKeySecret: OSS.secret,
  };
  const client = new Client(options);
  const add = (call, form, url, asked = {}) => rows.add(call, form, url, { asked: lower(asked) });
  add("signatureUrl", "plain", client.signatureUrl(KEY, { expires: LIFE, method: "PUT" }));
  add("signatureUrl", "Content-Type", client.signatureUrl(KEY, { expires: LIFE, method: "PUT", "Content-Type": TYPE }),
    { "Content-Type": TYPE });
  const temporary = new Client({ ...options, stsToken: "CAISinvented+token/==" });
  add("signatureUrl", "stsToken", temporary.signatureUrl(KEY, { expires: LIFE, method: "PUT" }));
  add("asyncSignatureUrl", "plain", await client.asyncSignatureUrl(KEY, { expires: LIFE, method: "PUT" }));
  const request = (headers) => ({ headers, queries: {} });
  add("signatureUrlV4", "plain", await client.signatureUrlV4("PUT", LIFE, request({}), KEY));
  add("signatureUrlV4", "headers",
    await client.signatureUrlV4("PUT", LIFE, request({ "Content-Type": TYPE, "x-oss-meta-run": "42" }), KEY),
    { "Content-Type": TYPE, "x-oss-meta-run": "42" });
  add("signatureUrlV4", "additionalHeaders",
    await client.signatureUrlV4("PUT", LIFE, request({ "Cache-Control": "no-store" }), KEY, ["cache-control"]),
    { "Cache-Control": "no-store" });
  const policy = { expiration: new Date(Date.now() + LIFE * 1000).toISOString(), conditions: [{ bucket: "bucket" }, ["eq", "$key", KEY], ["content-length-range", 1, 1000]] };
  const made = client.calculatePostSignature(policy);
  rows.add("calculatePostSignature", "key, content-length-range", "https://bucket.oss-cn-hangzhou.aliyuncs.com",
    { fields: { key: KEY, OSSAccessKeyId: made.OSSAccessKeyId, policy: made.policy, Signature: made.Signature } });
  return rows;
}

const COS = { store: "cos", access_key: "AKIDEXAMPLE", secret: "secretEXAMPLE" };

function tencent() {
  const Client = require("cos-nodejs-sdk-v5");
  const rows = new Rows("cos-nodejs-sdk-v5", "cos-nodejs-sdk-v5", COS);
  const options = { SecretId: COS.access_key, SecretKey: COS.secret };
  const place = { Bucket: "bucket-1250000000", Region: "ap-guangzhou", Key: KEY, Method: "PUT", Sign: true, Expires: LIFE };
  const url = (client, more = {}) => client.getObjectUrl({ ...place, ...more }, () => {});
  const client = new Client(options);
  const headers = { "Content-Type": TYPE, "x-cos-meta-run": "42" };
  rows.add("getObjectUrl", "plain", url(client));
  rows.add("getObjectUrl", "Headers", url(client, { Headers: headers }), { asked: lower(headers) });
  rows.add("getObjectUrl", "SecurityToken", url(new Client({ ...options, SecurityToken: "invented-token" })));
  return rows;
}

const OBS = { store: "obs", access_key: "AKIDEXAMPLE", secret: "secretEXAMPLE" };

async function huawei() {
  const Client = require("esdk-obs-nodejs");
  const rows = new Rows("esdk-obs-nodejs", "esdk-obs-nodejs", OBS);
  const options = {
    access_key_id: OBS.access_key, secret_access_key: OBS.secret, server: "https://obs.cn-north-4.myhuaweicloud.com",
  };
  // The constructor ends in a task of its own.
  const made = async (signature) => {
    const client = new Client({ ...options, signature });
    await new Promise(setImmediate);
    return client;
  };
  for (const signature of ["obs", "v2"]) {
    const client = await made(signature);
    const store = signature === "obs" ? "obs" : "s3";
    const meta = signature === "obs" ? "x-obs-meta-run" : "x-amz-meta-run";
    const place = { Method: "PUT", Bucket: "bucket", Key: KEY, Expires: LIFE };
    for (const [form, headers] of [["plain", {}], ["headers", { "Content-Type": TYPE, [meta]: "42" }]]) {
      const put = client.createSignedUrlSync({ ...place, Headers: { ...headers } });
      rows.add(`createSignedUrlSync('PUT'), ${signature}`, form, put.SignedUrl,
        { asked: lower(headers), headers: put.ActualSignedRequestHeaders, store });
    }
  }
  const post = (await made("obs")).createPostSignatureSync({
    Bucket: "bucket", Key: KEY, Expires: LIFE, FormParams: { "content-type": TYPE },
  });
  rows.add("createPostSignatureSync", "content-type", "https://bucket.obs.cn-north-4.myhuaweicloud.com", {
    fields: {
      key: KEY, "content-type": TYPE, AccessKeyId: OBS.access_key, policy: post.Policy, signature: post.Signature,
    },
    asked: { "content-type": TYPE },
  });
  return rows;
}

(async () => write(await google(), azure(), await alibaba(), tencent(), await huawei()))();
