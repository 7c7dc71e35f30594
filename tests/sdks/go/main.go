// Print the signed URLs of aws-sdk-go-v2, aws-sdk-go and minio-go as JSON.
package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	aws2 "github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	credentials2 "github.com/aws/aws-sdk-go-v2/credentials"
	s3v2 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	aws1 "github.com/aws/aws-sdk-go/aws"
	credentials1 "github.com/aws/aws-sdk-go/aws/credentials"
	"github.com/aws/aws-sdk-go/aws/session"
	s3v1 "github.com/aws/aws-sdk-go/service/s3"
	"github.com/minio/minio-go/v7"
	credentials3 "github.com/minio/minio-go/v7/pkg/credentials"
)

const (
	accessKey = "AKIAIOSFODNN7EXAMPLE"
	secretKey = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	token     = "FwoGZXIvYXdzEXAMPLE//////////wEaDEXAMPLE+TOKEN=="
	mediaType = "application/vnd.run+json"
	key       = "runs/a b+c/42.json"
	life      = time.Hour
)

var (
	now  = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	date = regexp.MustCompile(`X-Amz-Date=(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z`)
	kms  = map[string]string{
		"x-amz-server-side-encryption":                "aws:kms",
		"x-amz-server-side-encryption-aws-kms-key-id": "key-1",
	}
)

// See recording.py for the members.
type row struct {
	SDK       string            `json:"sdk"`
	Language  string            `json:"language"`
	Version   string            `json:"version"`
	Time      string            `json:"time,omitempty"`
	Store     string            `json:"store"`
	AccessKey string            `json:"access_key"`
	Secret    string            `json:"secret"`
	Call      string            `json:"call"`
	Form      string            `json:"form"`
	URL       string            `json:"url"`
	Method    string            `json:"method,omitempty"`
	Asked     map[string]string `json:"asked"`
	Headers   http.Header       `json:"headers,omitempty"`
	Fields    map[string]string `json:"fields,omitempty"`
}

type sdk struct{ name, module string }

var rows = []row{}

func (s sdk) add(call, form, url string, asked map[string]string, more ...func(*row)) {
	info, _ := debug.ReadBuildInfo()
	one := row{SDK: s.name, Language: "Go", Store: "s3", AccessKey: accessKey, Secret: secretKey}
	for _, module := range info.Deps {
		if module.Path == s.module {
			one.Version = strings.TrimPrefix(module.Version, "v")
		}
	}
	one.Call, one.Form, one.URL, one.Asked = call, form, url, asked
	if one.Asked == nil {
		one.Asked = map[string]string{}
	}
	one.Time = date.ReplaceAllString(date.FindString(url), "$1-$2-$3 $4:$5:$6")
	one.Time = strings.Replace(one.Time, " ", "T", 1)
	if one.Time != "" {
		one.Time += "Z"
	}
	for _, change := range more {
		change(&one)
	}
	rows = append(rows, one)
}

func headers(given http.Header) func(*row) { return func(one *row) { one.Headers = given } }

func fields(given map[string]string) func(*row) { return func(one *row) { one.Fields = given } }

func reading(one *row) { one.Method = "GET" }

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// A signer of the SDK's own, at a fixed time.
type frozen struct{ *v4.Signer }

func (f frozen) PresignHTTP(
	ctx context.Context, credentials aws2.Credentials, r *http.Request, payloadHash string, service string,
	region string, _ time.Time, options ...func(*v4.SignerOptions),
) (string, http.Header, error) {
	return f.Signer.PresignHTTP(ctx, credentials, r, payloadHash, service, region, now, options...)
}

func version2() {
	s := sdk{"aws-sdk-go-v2", "github.com/aws/aws-sdk-go-v2/service/s3"}
	ctx := context.Background()
	client := func(token string, change func(*s3v2.Options)) *s3v2.PresignClient {
		options := s3v2.Options{
			Region:      "eu-central-1",
			Credentials: credentials2.NewStaticCredentialsProvider(accessKey, secretKey, token),
		}
		return s3v2.NewPresignClient(s3v2.New(options, change), func(o *s3v2.PresignOptions) {
			o.Expires = life
			o.Presigner = frozen{v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })}
		})
	}
	same := func(*s3v2.Options) {}
	put := func(form string, token string, options func(*s3v2.Options), change func(*s3v2.PutObjectInput), asked map[string]string) {
		input := &s3v2.PutObjectInput{Bucket: aws2.String("bucket"), Key: aws2.String(key)}
		change(input)
		made, err := client(token, options).PresignPutObject(ctx, input)
		check(err)
		s.add("PresignPutObject", form, made.URL, asked, headers(made.SignedHeader))
	}
	nothing := func(*s3v2.PutObjectInput) {}
	put("plain", "", same, nothing, nil)
	put("session token", token, same, nothing, nil)
	put("path style, another store", "", func(o *s3v2.Options) {
		o.BaseEndpoint, o.UsePathStyle = aws2.String("http://127.0.0.1:9000"), true
	}, nothing, nil)
	put("RequestChecksumCalculation: WhenRequired", "", func(o *s3v2.Options) {
		o.RequestChecksumCalculation = aws2.RequestChecksumCalculationWhenRequired
	}, nothing, nil)
	put("ContentType", "", same, func(i *s3v2.PutObjectInput) { i.ContentType = aws2.String(mediaType) },
		map[string]string{"content-type": mediaType})
	put("ACL", "", same, func(i *s3v2.PutObjectInput) { i.ACL = types.ObjectCannedACLBucketOwnerFullControl },
		map[string]string{"x-amz-acl": "bucket-owner-full-control"})
	put("Metadata", "", same, func(i *s3v2.PutObjectInput) { i.Metadata = map[string]string{"Run": "42"} },
		map[string]string{"x-amz-meta-run": "42"})
	put("Tagging", "", same, func(i *s3v2.PutObjectInput) { i.Tagging = aws2.String("a=1&b=2") },
		map[string]string{"x-amz-tagging": "a=1&b=2"})
	put("ServerSideEncryption", "", same, func(i *s3v2.PutObjectInput) {
		i.ServerSideEncryption, i.SSEKMSKeyId = types.ServerSideEncryptionAwsKms, aws2.String("key-1")
	}, kms)
	put("IfNoneMatch", "", same, func(i *s3v2.PutObjectInput) { i.IfNoneMatch = aws2.String("*") },
		map[string]string{"if-none-match": "*"})
	put("ContentLength", "", same, func(i *s3v2.PutObjectInput) { i.ContentLength = aws2.Int64(2) },
		map[string]string{"content-length": "2"})
	put("ContentEncoding, CacheControl", "", same, func(i *s3v2.PutObjectInput) {
		i.ContentEncoding, i.CacheControl = aws2.String("gzip"), aws2.String("no-store")
	}, map[string]string{"content-encoding": "gzip", "cache-control": "no-store"})
	put("ChecksumAlgorithm: SHA256", "", same, func(i *s3v2.PutObjectInput) {
		i.ChecksumAlgorithm = types.ChecksumAlgorithmSha256
	}, nil)
	put("Body", "", same, func(i *s3v2.PutObjectInput) { i.Body = strings.NewReader("{}") }, nil)

	get, err := client("", same).PresignGetObject(ctx, &s3v2.GetObjectInput{Bucket: aws2.String("bucket"), Key: aws2.String(key)})
	check(err)
	s.add("PresignGetObject", "plain", get.URL, nil, headers(get.SignedHeader), reading)

	post := func(form, token string, conditions []interface{}, more map[string]string) {
		input := &s3v2.PutObjectInput{Bucket: aws2.String("bucket"), Key: aws2.String(key)}
		made, err := client(token, same).PresignPostObject(ctx, input, func(o *s3v2.PresignPostOptions) {
			o.Expires, o.Conditions = life, conditions
		})
		check(err)
		for name, value := range more {
			made.Values[name] = value
		}
		s.add("PresignPostObject", form, made.URL, more, fields(made.Values))
	}
	post("plain", "", nil, nil)
	post("session token", token, nil, nil)
	post("content-length-range", "", []interface{}{[]interface{}{"content-length-range", 1, 1000}}, nil)
	post("conditions, with their fields added", "", []interface{}{
		[]interface{}{"eq", "$Content-Type", mediaType}, map[string]string{"x-amz-meta-run": "42"},
	}, map[string]string{"Content-Type": mediaType, "x-amz-meta-run": "42"})
}

func version1() {
	s := sdk{"aws-sdk-go", "github.com/aws/aws-sdk-go"}
	client := func(token string) *s3v1.S3 {
		return s3v1.New(session.Must(session.NewSession(&aws1.Config{
			Region: aws1.String("eu-central-1"), Credentials: credentials1.NewStaticCredentials(accessKey, secretKey, token),
		})))
	}
	put := func(form, token string, change func(*s3v1.PutObjectInput), asked map[string]string) {
		input := &s3v1.PutObjectInput{Bucket: aws1.String("bucket"), Key: aws1.String(key)}
		change(input)
		request, _ := client(token).PutObjectRequest(input)
		request.Time = now
		url, signed, err := request.PresignRequest(life)
		check(err)
		s.add("PutObjectRequest, PresignRequest", form, url, asked, headers(signed))
	}
	put("plain", "", func(*s3v1.PutObjectInput) {}, nil)
	put("session token", token, func(*s3v1.PutObjectInput) {}, nil)
	put("ContentType", "", func(i *s3v1.PutObjectInput) { i.ContentType = aws1.String(mediaType) },
		map[string]string{"content-type": mediaType})
	put("ACL", "", func(i *s3v1.PutObjectInput) { i.ACL = aws1.String("bucket-owner-full-control") },
		map[string]string{"x-amz-acl": "bucket-owner-full-control"})
	put("Metadata", "", func(i *s3v1.PutObjectInput) { i.Metadata = map[string]*string{"Run": aws1.String("42")} },
		map[string]string{"x-amz-meta-run": "42"})
	put("ServerSideEncryption", "", func(i *s3v1.PutObjectInput) {
		i.ServerSideEncryption, i.SSEKMSKeyId = aws1.String("aws:kms"), aws1.String("key-1")
	}, kms)
	put("ContentLength", "", func(i *s3v1.PutObjectInput) { i.ContentLength = aws1.Int64(2) },
		map[string]string{"content-length": "2"})
	request, _ := client("").PutObjectRequest(&s3v1.PutObjectInput{
		Bucket: aws1.String("bucket"), Key: aws1.String(key), ACL: aws1.String("private"),
	})
	request.Time = now
	url, err := request.Presign(life)
	check(err)
	s.add("PutObjectRequest, Presign", "ACL", url, map[string]string{"x-amz-acl": "private"})
}

func ofMinio() {
	s := sdk{"minio-go", "github.com/minio/minio-go/v7"}
	ctx := context.Background()
	client := func(endpoint string, credentials *credentials3.Credentials) *minio.Client {
		made, err := minio.New(endpoint, &minio.Options{Creds: credentials, Secure: true, Region: "us-east-1"})
		check(err)
		return made
	}
	store := client("minio.example.org", credentials3.NewStaticV4(accessKey, secretKey, ""))
	put := func(form string, store *minio.Client, more ...func(*row)) {
		url, err := store.PresignedPutObject(ctx, "bucket", key, life)
		check(err)
		s.add("PresignedPutObject", form, url.String(), nil, more...)
	}
	put("plain", store)
	put("session token", client("minio.example.org:9000", credentials3.NewStaticV4(accessKey, secretKey, token)))
	put("Amazon S3", client("s3.amazonaws.com", credentials3.NewStaticV4(accessKey, secretKey, "")))
	put("Signature Version 2", client("minio.example.org", credentials3.NewStaticV2(accessKey, secretKey, "")))
	extra := http.Header{"X-Amz-Acl": {"private"}, "Content-Type": {mediaType}}
	signed, err := store.PresignHeader(ctx, "PUT", "bucket", key, life, url.Values{}, extra)
	check(err)
	s.add("PresignHeader(\"PUT\")", "headers", signed.String(), map[string]string{"x-amz-acl": "private", "content-type": mediaType}, headers(extra))
	get, err := store.PresignedGetObject(ctx, "bucket", key, life, nil)
	check(err)
	s.add("PresignedGetObject", "plain", get.String(), nil, reading)
	policy := minio.NewPostPolicy()
	check(policy.SetBucket("bucket"))
	check(policy.SetKey(key))
	check(policy.SetExpires(time.Now().UTC().Add(life)))
	check(policy.SetContentType(mediaType))
	check(policy.SetContentLengthRange(1, 1000))
	check(policy.SetUserMetadata("run", "42"))
	made, form, err := store.PresignedPostPolicy(ctx, policy)
	check(err)
	s.add("PresignedPostPolicy", "Content-Type, content-length-range, metadata", made.String(),
		map[string]string{"Content-Type": mediaType, "x-amz-meta-run": "42"}, fields(form))
}

func main() {
	version2()
	version1()
	ofMinio()
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	check(encoder.Encode(rows))
}
