// aws-sdk-js 3 and 2, and minio.
"use strict";
const { ACCESS_KEY, SECRET_KEY, SESSION_TOKEN, TYPE, KEY, LIFE, AWS, Rows, write } = require("./rows");

const BUCKET = { Bucket: "bucket", Key: KEY };
const ACL = { "x-amz-acl": "bucket-owner-full-control" };
const META = { "x-amz-meta-run": "42" };
const KMS = {
  "x-amz-server-side-encryption": "aws:kms",
  "x-amz-server-side-encryption-aws-kms-key-id": "key-1",
};
const SSE = { ServerSideEncryption: "aws:kms", SSEKMSKeyId: "key-1" };
const AMAZON = { region: "eu-central-1" };
const MINIO = { region: "us-east-1", endpoint: "https://minio.example.org", forcePathStyle: true };
const PLAIN = { requestChecksumCalculation: "WHEN_REQUIRED" };

// Form, options of the client, parameters of PutObjectCommand, options of getSignedUrl, what was asked for.
const PUTS = [
  ["plain", AMAZON, {}, {}, {}],
  ["plain, another store", MINIO, {}, {}, {}],
  ["WHEN_REQUIRED", { ...AMAZON, ...PLAIN }, {}, {}, {}],
  ["WHEN_REQUIRED, another store", { ...MINIO, ...PLAIN }, {}, {}, {}],
  ["ContentType", { ...AMAZON, ...PLAIN }, { ContentType: TYPE }, {}, {}],
  [
    "ContentType, signableHeaders", { ...AMAZON, ...PLAIN }, { ContentType: TYPE },
    { signableHeaders: new Set(["content-type"]) }, { "content-type": TYPE },
  ],
  ["ACL", { ...AMAZON, ...PLAIN }, { ACL: ACL["x-amz-acl"] }, {}, ACL],
  ["ACL, unhoistableHeaders", { ...AMAZON, ...PLAIN }, { ACL: ACL["x-amz-acl"] },
    { unhoistableHeaders: new Set(["x-amz-acl"]) }, ACL],
  ["Metadata", { ...AMAZON, ...PLAIN }, { Metadata: { Run: "42" } }, {}, META],
  ["Metadata, unhoistableHeaders", { ...AMAZON, ...PLAIN }, { Metadata: { run: "42" } },
    { unhoistableHeaders: new Set(["x-amz-meta-run"]) }, META],
  ["Tagging", { ...AMAZON, ...PLAIN }, { Tagging: "a=1&b=2" }, {}, { "x-amz-tagging": "a=1&b=2" }],
  ["Tagging, unhoistableHeaders", { ...AMAZON, ...PLAIN }, { Tagging: "a=1&b=2" },
    { unhoistableHeaders: new Set(["x-amz-tagging"]) }, { "x-amz-tagging": "a=1&b=2" }],
  ["ServerSideEncryption", { ...AMAZON, ...PLAIN }, SSE, {}, KMS],
  ["ServerSideEncryption, hoistableHeaders", { ...AMAZON, ...PLAIN }, SSE,
    { hoistableHeaders: new Set(Object.keys(KMS)) }, KMS],
  ["StorageClass", { ...AMAZON, ...PLAIN }, { StorageClass: "STANDARD_IA" }, {}, { "x-amz-storage-class": "STANDARD_IA" }],
  ["IfNoneMatch", { ...AMAZON, ...PLAIN }, { IfNoneMatch: "*" }, {}, { "if-none-match": "*" }],
  ["ContentLength", { ...AMAZON, ...PLAIN }, { ContentLength: 2 }, {}, { "content-length": "2" }],
  ["ContentEncoding, CacheControl", { ...AMAZON, ...PLAIN }, { ContentEncoding: "gzip", CacheControl: "no-store" }, {},
    { "content-encoding": "gzip", "cache-control": "no-store" }],
  ["ChecksumAlgorithm: SHA256", AMAZON, { ChecksumAlgorithm: "SHA256" }, {}, {}],
  ["ChecksumSHA256 of {}", AMAZON, { ChecksumSHA256: "RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=" }, {},
    { "x-amz-checksum-sha256": "RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=" }],
  ["ChecksumSHA256 of {}, unhoistableHeaders", AMAZON,
    { ChecksumSHA256: "RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=" },
    { unhoistableHeaders: new Set(["x-amz-checksum-sha256"]) },
    { "x-amz-checksum-sha256": "RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=" }],
  ["session token", { ...AMAZON, ...PLAIN, token: SESSION_TOKEN }, {}, {}, {}],
  ["transfer acceleration, dual stack", { ...AMAZON, ...PLAIN, useAccelerateEndpoint: true, useDualstackEndpoint: true },
    {}, {}, {}],
];

async function version3() {
  const { S3Client, PutObjectCommand, GetObjectCommand } = require("@aws-sdk/client-s3");
  const { getSignedUrl } = require("@aws-sdk/s3-request-presigner");
  const { createPresignedPost } = require("@aws-sdk/s3-presigned-post");
  const rows = new Rows("aws-sdk-js 3", "@aws-sdk/s3-request-presigner", AWS);
  const client = ({ token, ...options }) =>
    new S3Client({
      ...options,
      credentials: { accessKeyId: ACCESS_KEY, secretAccessKey: SECRET_KEY, sessionToken: token },
    });
  for (const [form, options, parameters, presign, asked] of PUTS) {
    const command = new PutObjectCommand({ ...BUCKET, ...parameters });
    const url = await getSignedUrl(client(options), command, { expiresIn: LIFE, ...presign });
    rows.add("getSignedUrl(PutObjectCommand)", form, url, { asked });
  }
  const get = await getSignedUrl(client(AMAZON), new GetObjectCommand(BUCKET), { expiresIn: LIFE });
  rows.add("getSignedUrl(GetObjectCommand)", "plain", get, { method: "GET" });
  const posts = [
    ["plain", AMAZON, {}, []],
    ["content-length-range", AMAZON, {}, [["content-length-range", 1, 1000]]],
    ["eq $Content-Type, metadata", AMAZON, { "Content-Type": TYPE, "x-amz-meta-run": "42" },
      [["eq", "$Content-Type", TYPE], { "x-amz-meta-run": "42" }]],
    ["starts-with $key", MINIO, { acl: "private" }, [["starts-with", "$key", "runs/"], { acl: "private" }]],
    ["session token", { ...AMAZON, token: SESSION_TOKEN }, {}, []],
  ];
  for (const [form, options, Fields, Conditions] of posts) {
    const made = await createPresignedPost(client(options), { ...BUCKET, Fields, Conditions, Expires: LIFE });
    rows.add("createPresignedPost", form, made.url, { fields: made.fields, asked: Fields });
  }
  return rows;
}

function version2() {
  process.env.AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE = "1";
  const S3 = require("aws-sdk").S3;
  const keys = { accessKeyId: ACCESS_KEY, secretAccessKey: SECRET_KEY };
  const forms = [
    ["plain", {}, {}],
    ["ContentType", { ContentType: TYPE }, { "content-type": TYPE }],
    ["ACL", { ACL: ACL["x-amz-acl"] }, ACL],
    ["ACL, ContentType", { ACL: ACL["x-amz-acl"], ContentType: TYPE }, { ...ACL, "content-type": TYPE }],
    ["Metadata", { Metadata: { run: "42" } }, META],
    ["Tagging", { Tagging: "a=1&b=2" }, { "x-amz-tagging": "a=1&b=2" }],
    ["ServerSideEncryption", SSE, KMS],
    ["ContentDisposition", { ContentDisposition: "attachment" }, { "content-disposition": "attachment" }],
  ];
  const made = ["v4", "v2"].map((signatureVersion) => {
    const options = { ...keys, region: "us-east-1", signatureVersion };
    const rows = new Rows("aws-sdk-js 2", "aws-sdk", AWS);
    const call = `getSignedUrl('putObject'), Signature Version ${signatureVersion[1]}`;
    for (const [form, parameters, asked] of forms) {
      rows.add(call, form,
        new S3(options).getSignedUrl("putObject", { ...BUCKET, Expires: LIFE, ...parameters }), { asked });
    }
    const temporary = new S3({ ...options, sessionToken: SESSION_TOKEN });
    rows.add(call, "session token",
      temporary.getSignedUrl("putObject", { ...BUCKET, Expires: LIFE }));
    return rows;
  });
  const Fields = { key: KEY, "Content-Type": TYPE, "x-amz-meta-run": "42" };
  const Conditions = [["content-length-range", 1, 1000]];
  const s3 = new S3({ ...keys, region: "eu-central-1", signatureVersion: "v4" });
  const post = s3.createPresignedPost({ Bucket: "bucket", Fields, Conditions, Expires: LIFE });
  made[0].add("createPresignedPost", "content-length-range, Content-Type, metadata", post.url,
    { fields: post.fields, asked: Fields });
  return made;
}

async function minio() {
  const Minio = require("minio");
  const rows = new Rows("minio-js", "minio", AWS);
  const options = { endPoint: "minio.example.org", accessKey: ACCESS_KEY, secretKey: SECRET_KEY, region: "us-east-1" };
  const client = new Minio.Client(options);
  rows.add("presignedPutObject", "plain", await client.presignedPutObject("bucket", KEY, LIFE));
  const temporary = new Minio.Client({ ...options, port: 9000, useSSL: false, sessionToken: SESSION_TOKEN });
  rows.add("presignedPutObject", "session token", await temporary.presignedPutObject("bucket", KEY, LIFE));
  rows.add("presignedUrl('PUT')", "plain", await client.presignedUrl("PUT", "bucket", KEY, LIFE));
  rows.add("presignedGetObject", "plain", await client.presignedGetObject("bucket", KEY, LIFE), { method: "GET" });
  const policy = client.newPostPolicy();
  policy.setBucket("bucket");
  policy.setKey(KEY);
  policy.setExpires(new Date(Date.now() + LIFE * 1000));
  policy.setContentType(TYPE);
  policy.setContentLengthRange(1, 1000);
  policy.setUserMetaData({ run: "42" });
  const { postURL, formData } = await client.presignedPostPolicy(policy);
  rows.add("presignedPostPolicy", "Content-Type, content-length-range, metadata", postURL,
    { fields: formData, asked: { "Content-Type": TYPE, "x-amz-meta-run": "42" } });
  return rows;
}

(async () => write(await version3(), ...version2(), await minio()))();
