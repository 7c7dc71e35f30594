//! Print the signed URLs of aws-sdk-s3, object_store and rust-s3 as JSON.

use std::collections::HashMap;
use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sdk_s3::config::{BehaviorVersion, Region, RequestChecksumCalculation};
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use aws_sdk_s3::types::{ChecksumAlgorithm, ObjectCannedAcl, ServerSideEncryption};
use aws_sdk_s3::{Client, Config};
use serde_json::{Value, json};

const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "FwoGZXIvYXdzEXAMPLE//////////wEaDEXAMPLE+TOKEN==";
const TYPE: &str = "application/vnd.run+json";
const KEY: &str = "runs/a b+c/42.json";
const LIFE: u64 = 3600;
const NOW: u64 = 1_769_860_800;
const LOCK: &str = include_str!("../Cargo.lock");

fn version(name: &str) -> &'static str {
    let found = LOCK.split(&format!("name = \"{name}\"\nversion = \"")).nth(1).unwrap();
    found.split('"').next().unwrap()
}

/// A row; see recording.py for the members.
fn row(sdk: &str, call: &str, form: &str, url: &str, asked: Value) -> Value {
    json!({
        "sdk": sdk, "language": "Rust", "version": version(sdk), "store": "s3", "access_key": ACCESS_KEY,
        "secret": SECRET_KEY, "call": call, "form": form, "url": url, "asked": asked, "time": time(url),
    })
}

fn time(url: &str) -> Option<String> {
    let at = url.split("X-Amz-Date=").nth(1)?;
    let (year, month, day) = (&at[0..4], &at[4..6], &at[6..8]);
    Some(format!("{year}-{month}-{day}T{}:{}:{}Z", &at[9..11], &at[11..13], &at[13..15]))
}

fn client(token: Option<&str>, checksums: RequestChecksumCalculation) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .request_checksum_calculation(checksums)
        .credentials_provider(Credentials::new(ACCESS_KEY, SECRET_KEY, token.map(String::from), None, "fixed"));
    Client::from_conf(config.build())
}

fn presigning() -> PresigningConfig {
    let builder = PresigningConfig::builder().start_time(UNIX_EPOCH + Duration::from_secs(NOW));
    builder.expires_in(Duration::from_secs(LIFE)).build().unwrap()
}

fn with_headers(mut row: Value, made: &PresignedRequest) -> Value {
    let headers: HashMap<_, _> = made.headers().collect();
    row["headers"] = json!(headers);
    row
}

async fn aws(rows: &mut Vec<Value>) {
    type Change = fn(PutObjectFluentBuilder) -> PutObjectFluentBuilder;
    let forms: [(&str, Change, Value); 10] = [
        ("plain", |p| p, json!({})),
        ("content_type", |p| p.content_type(TYPE), json!({"content-type": TYPE})),
        ("acl", |p| p.acl(ObjectCannedAcl::BucketOwnerFullControl), json!({"x-amz-acl": "bucket-owner-full-control"})),
        ("metadata", |p| p.metadata("run", "42"), json!({"x-amz-meta-run": "42"})),
        ("tagging", |p| p.tagging("a=1&b=2"), json!({"x-amz-tagging": "a=1&b=2"})),
        (
            "server_side_encryption",
            |p| p.server_side_encryption(ServerSideEncryption::AwsKms).ssekms_key_id("key-1"),
            json!({"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": "key-1"}),
        ),
        ("if_none_match", |p| p.if_none_match("*"), json!({"if-none-match": "*"})),
        ("content_length", |p| p.content_length(2), json!({"content-length": "2"})),
        ("checksum_algorithm", |p| p.checksum_algorithm(ChecksumAlgorithm::Sha256), json!({})),
        (
            "checksum_sha256 of {}",
            |p| p.checksum_sha256("RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o="),
            json!({"x-amz-checksum-sha256": "RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o="}),
        ),
    ];
    let call = "put_object().presigned()";
    let s3 = client(None, RequestChecksumCalculation::WhenSupported);
    for (form, change, asked) in forms {
        let made = change(s3.put_object().bucket("bucket").key(KEY)).presigned(presigning()).await.unwrap();
        rows.push(with_headers(row("aws-sdk-s3", call, form, made.uri(), asked), &made));
    }
    let s3 = client(Some(TOKEN), RequestChecksumCalculation::WhenRequired);
    let made = s3.put_object().bucket("bucket").key(KEY).presigned(presigning()).await.unwrap();
    rows.push(with_headers(row("aws-sdk-s3", call, "session token", made.uri(), json!({})), &made));
    let made = s3.get_object().bucket("bucket").key(KEY).presigned(presigning()).await.unwrap();
    let mut get = with_headers(row("aws-sdk-s3", "get_object().presigned()", "plain", made.uri(), json!({})), &made);
    get["method"] = json!("GET");
    rows.push(get);
}

async fn object_store(rows: &mut Vec<Value>) {
    use object_store::aws::AmazonS3Builder;
    use object_store::signer::Signer;

    let store = AmazonS3Builder::new()
        .with_bucket_name("bucket")
        .with_region("eu-central-1")
        .with_access_key_id(ACCESS_KEY)
        .with_secret_access_key(SECRET_KEY)
        .with_virtual_hosted_style_request(true)
        .build()
        .unwrap();
    let url = store.signed_url("PUT".parse().unwrap(), &KEY.into(), Duration::from_secs(LIFE)).await.unwrap();
    rows.push(row("object_store", "signed_url(PUT)", "plain", url.as_str(), json!({})));
}

async fn rust_s3(rows: &mut Vec<Value>) {
    use s3::Bucket;
    use s3::post_policy::{PostPolicy, PostPolicyField, PostPolicyValue};

    let keys = s3::creds::Credentials::new(Some(ACCESS_KEY), Some(SECRET_KEY), None, None, None).unwrap();
    let bucket = Bucket::new("bucket", "eu-central-1".parse().unwrap(), keys).unwrap();
    let url = bucket.presign_put(KEY, LIFE as u32, None, None).await.unwrap();
    rows.push(row("rust-s3", "presign_put", "plain", &url, json!({})));
    let policy = PostPolicy::new(LIFE as u32)
        .condition(PostPolicyField::Key, PostPolicyValue::Exact(KEY.into()))
        .unwrap()
        .condition(PostPolicyField::ContentLengthRange, PostPolicyValue::Range(1, 1000))
        .unwrap();
    let made = bucket.presign_post(policy).await.unwrap();
    let mut post = row("rust-s3", "presign_post", "content-length-range", &made.url, json!({}));
    post["fields"] = json!(made.fields);
    rows.push(post);
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut rows = vec![];
    aws(&mut rows).await;
    object_store(&mut rows).await;
    rust_s3(&mut rows).await;
    println!("{}", serde_json::to_string_pretty(&rows).unwrap());
}
