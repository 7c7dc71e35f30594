import com.amazonaws.ClientConfiguration;
import com.amazonaws.HttpMethod;
import com.amazonaws.auth.AWSStaticCredentialsProvider;
import com.amazonaws.auth.BasicAWSCredentials;
import com.amazonaws.auth.BasicSessionCredentials;
import com.amazonaws.services.s3.AmazonS3;
import com.amazonaws.services.s3.AmazonS3ClientBuilder;
import com.amazonaws.services.s3.model.GeneratePresignedUrlRequest;
import com.amazonaws.util.VersionInfoUtils;
import io.minio.GetPresignedObjectUrlArgs;
import io.minio.MinioClient;
import io.minio.PostPolicy;
import io.minio.http.Method;
import java.net.URI;
import java.time.Duration;
import java.time.ZonedDateTime;
import java.util.ArrayList;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.AwsCredentials;
import software.amazon.awssdk.auth.credentials.AwsSessionCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.core.util.VersionInfo;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.s3.S3Configuration;
import software.amazon.awssdk.services.s3.model.ChecksumAlgorithm;
import software.amazon.awssdk.services.s3.model.ObjectCannedACL;
import software.amazon.awssdk.services.s3.model.PutObjectRequest;
import software.amazon.awssdk.services.s3.presigner.S3Presigner;
import software.amazon.awssdk.services.s3.presigner.model.PresignedGetObjectRequest;
import software.amazon.awssdk.services.s3.presigner.model.PresignedPutObjectRequest;

/** Prints the signed URLs of the AWS SDKs for Java, and of minio, as JSON. */
public final class Urls {
    static final String ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE";
    static final String SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    static final String TOKEN = "FwoGZXIvYXdzEXAMPLE//////////wEaDEXAMPLE+TOKEN==";
    static final String TYPE = "application/vnd.run+json";
    static final String KEY = "runs/a b+c/42.json";
    static final Duration LIFE = Duration.ofHours(1);
    static final Pattern DATE = Pattern.compile("X-Amz-Date=(\\d{4})(\\d\\d)(\\d\\d)T(\\d\\d)(\\d\\d)(\\d\\d)Z");
    static final List<Object> ROWS = new ArrayList<>();
    static String sdk;
    static String version;

    static S3Presigner presigner(AwsCredentials keys, Consumer<S3Presigner.Builder> change) {
        S3Presigner.Builder builder = S3Presigner.builder()
                .region(Region.EU_CENTRAL_1)
                .credentialsProvider(StaticCredentialsProvider.create(keys));
        change.accept(builder);
        return builder.build();
    }

    /** Adds a row; see recording.py for the members. */
    static Map<String, Object> add(String call, String form, String url, Map<String, ?> headers, Map<String, ?> asked) {
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("sdk", sdk);
        row.put("language", "Java");
        row.put("version", version);
        row.put("time", time(url));
        row.put("store", "s3");
        row.put("access_key", ACCESS_KEY);
        row.put("secret", SECRET_KEY);
        row.put("call", call);
        row.put("form", form);
        row.put("url", url);
        row.put("asked", asked);
        if (headers != null) {
            row.put("headers", headers);
        }
        ROWS.add(row);
        return row;
    }

    static String time(String url) {
        Matcher date = DATE.matcher(url);
        if (!date.find()) {
            return "";
        }
        return String.format("%s-%s-%sT%s:%s:%sZ", date.group(1), date.group(2), date.group(3), date.group(4),
                date.group(5), date.group(6));
    }

    static void put(S3Presigner presigner, String form, Consumer<PutObjectRequest.Builder> change, Map<String, ?> asked) {
        PutObjectRequest.Builder builder = PutObjectRequest.builder().bucket("bucket").key(KEY);
        change.accept(builder);
        PresignedPutObjectRequest made = presigner.presignPutObject(
                b -> b.signatureDuration(LIFE).putObjectRequest(builder.build()));
        add("presignPutObject", form, made.url().toString(), made.signedHeaders(), asked);
    }

    public static void main(String[] arguments) throws Exception {
        version2();
        version1();
        minio();
        System.out.println(json(ROWS));
    }

    static void version1() {
        sdk = "aws-sdk-java";
        version = VersionInfoUtils.getVersion();
        put1("plain", r -> { }, Map.of());
        put1("withContentType", r -> r.withContentType(TYPE), Map.of("content-type", TYPE));
        put1("putCustomRequestHeader", r -> r.putCustomRequestHeader("x-amz-meta-run", "42"), Map.of("x-amz-meta-run", "42"));
        put1("addRequestParameter(\"x-amz-acl\")", r -> r.addRequestParameter("x-amz-acl", "private"), Map.of("x-amz-acl", "private"));
        AmazonS3 temporary = client1(new BasicSessionCredentials(ACCESS_KEY, SECRET_KEY, TOKEN), null);
        add("generatePresignedUrl(PUT)", "session token", temporary.generatePresignedUrl(request1()).toString(), null, Map.of());
        AmazonS3 old = client1(new BasicAWSCredentials(ACCESS_KEY, SECRET_KEY), "S3SignerType");
        add("generatePresignedUrl(PUT), Signature Version 2", "plain", old.generatePresignedUrl(request1()).toString(), null, Map.of());
        add("generatePresignedUrl(PUT), Signature Version 2", "withContentType",
                old.generatePresignedUrl(request1().withContentType(TYPE)).toString(), null, Map.of("content-type", TYPE));
    }

    static GeneratePresignedUrlRequest request1() {
        return new GeneratePresignedUrlRequest("bucket", KEY, HttpMethod.PUT)
                .withExpiration(new Date(System.currentTimeMillis() + LIFE.toMillis()));
    }

    static AmazonS3 client1(com.amazonaws.auth.AWSCredentials keys, String signer) {
        AmazonS3ClientBuilder builder = AmazonS3ClientBuilder.standard().withRegion("eu-central-1")
                .withCredentials(new AWSStaticCredentialsProvider(keys));
        if (signer != null) {
            builder.withRegion("us-east-1").withClientConfiguration(new ClientConfiguration().withSignerOverride(signer));
        }
        return builder.build();
    }

    static void put1(String form, Consumer<GeneratePresignedUrlRequest> change, Map<String, ?> asked) {
        AmazonS3 s3 = client1(new BasicAWSCredentials(ACCESS_KEY, SECRET_KEY), null);
        // After the client, which takes seconds to begin with.
        GeneratePresignedUrlRequest request = request1();
        change.accept(request);
        add("generatePresignedUrl(PUT)", form, s3.generatePresignedUrl(request).toString(), null, asked);
    }

    static void minio() throws Exception {
        sdk = "minio-java";
        version = MinioClient.class.getPackage().getImplementationVersion();
        MinioClient store = MinioClient.builder().endpoint("https://minio.example.org").region("us-east-1")
                .credentials(ACCESS_KEY, SECRET_KEY).build();
        for (Method method : List.of(Method.PUT, Method.GET)) {
            String url = store.getPresignedObjectUrl(GetPresignedObjectUrlArgs.builder().method(method).bucket("bucket")
                    .object(KEY).expiry(3600).build());
            add("getPresignedObjectUrl(" + method + ")", "plain", url, null, Map.of()).put("method", method.toString());
        }
        String extra = store.getPresignedObjectUrl(GetPresignedObjectUrlArgs.builder().method(Method.PUT).bucket("bucket")
                .object(KEY).expiry(3600).extraHeaders(Map.of("x-amz-meta-run", "42")).build());
        add("getPresignedObjectUrl(PUT)", "extraHeaders", extra, null, Map.of("x-amz-meta-run", "42"));
        PostPolicy policy = new PostPolicy("bucket", ZonedDateTime.now().plus(LIFE));
        policy.addEqualsCondition("key", KEY);
        policy.addStartsWithCondition("Content-Type", "application/");
        policy.addContentLengthRangeCondition(1, 1000);
        Map<String, String> fields = new LinkedHashMap<>();
        fields.put("key", KEY);
        fields.put("Content-Type", TYPE);
        fields.putAll(store.getPresignedPostFormData(policy));
        add("getPresignedPostFormData", "with key and Content-Type", "https://minio.example.org/bucket", null,
                Map.of("Content-Type", TYPE)).put("fields", fields);
    }

    static void version2() {
        sdk = "aws-sdk-java-v2";
        version = VersionInfo.SDK_VERSION;
        AwsCredentials keys = AwsBasicCredentials.create(ACCESS_KEY, SECRET_KEY);
        S3Presigner s3 = presigner(keys, b -> { });
        Map<String, String> kms = new LinkedHashMap<>();
        kms.put("x-amz-server-side-encryption", "aws:kms");
        kms.put("x-amz-server-side-encryption-aws-kms-key-id", "key-1");
        put(s3, "plain", b -> { }, Map.of());
        put(presigner(AwsSessionCredentials.create(ACCESS_KEY, SECRET_KEY, TOKEN), b -> { }), "session token",
                b -> { }, Map.of());
        put(presigner(keys, b -> b.endpointOverride(URI.create("https://minio.example.org"))
                .serviceConfiguration(S3Configuration.builder().pathStyleAccessEnabled(true).build())),
                "path style, another store", b -> { }, Map.of());
        put(s3, "contentType", b -> b.contentType(TYPE), Map.of("content-type", TYPE));
        put(s3, "acl", b -> b.acl(ObjectCannedACL.BUCKET_OWNER_FULL_CONTROL),
                Map.of("x-amz-acl", "bucket-owner-full-control"));
        put(s3, "metadata", b -> b.metadata(Map.of("Run", "42")), Map.of("x-amz-meta-run", "42"));
        put(s3, "metadata, contentType, checksumAlgorithm", b -> b.metadata(Map.of("run", "42")).contentType(TYPE)
                .checksumAlgorithm(ChecksumAlgorithm.SHA256), Map.of("x-amz-meta-run", "42", "content-type", TYPE));
        put(s3, "tagging", b -> b.tagging("a=1&b=2"), Map.of("x-amz-tagging", "a=1&b=2"));
        put(s3, "serverSideEncryption", b -> b.serverSideEncryption("aws:kms").ssekmsKeyId("key-1"), kms);
        put(s3, "ifNoneMatch", b -> b.ifNoneMatch("*"), Map.of("if-none-match", "*"));
        put(s3, "contentLength", b -> b.contentLength(2L), Map.of("content-length", "2"));
        put(s3, "contentEncoding, cacheControl", b -> b.contentEncoding("gzip").cacheControl("no-store"),
                Map.of("content-encoding", "gzip", "cache-control", "no-store"));
        PresignedGetObjectRequest get = s3.presignGetObject(
                b -> b.signatureDuration(LIFE).getObjectRequest(g -> g.bucket("bucket").key(KEY)));
        add("presignGetObject", "plain", get.url().toString(), get.signedHeaders(), Map.of()).put("method", "GET");
    }

    static String json(Object value) {
        if (value instanceof Map<?, ?> map) {
            List<String> parts = new ArrayList<>();
            map.forEach((name, member) -> parts.add(json(name) + ": " + json(member)));
            return "{" + String.join(",\n ", parts) + "}";
        }
        if (value instanceof Iterable<?> list) {
            List<String> parts = new ArrayList<>();
            list.forEach(member -> parts.add(json(member)));
            return "[" + String.join(",\n", parts) + "]";
        }
        return "\"" + value.toString().replace("\\", "\\\\").replace("\"", "\\\"") + "\"";
    }
}
