"""Hints for the error codes of object stores.

Sources: "Error responses" in Amazon's S3 API reference, "HTTP status and error codes for XML" in Google's, "Blob
service error codes" in Azure's, "Error codes" in Cloudflare's documentation of R2, the source code of MinIO, Ceph and
SeaweedFS, and reports by users; `tests/unit/transport/error_response_cases.py` has the latter.
"""

from __future__ import annotations

from callback_sdk.transport.causes import (
    ACCESS_DENIED,
    ACCESS_KEY,
    AGAIN,
    AISTORE_PERMISSION,
    AISTORE_REFUSED,
    AISTORE_TOKEN,
    ANONYMOUS,
    AUTHENTICATION_FAILED,
    BILLING,
    BLOB_EXISTS,
    CAP,
    CHECKSUM,
    CONDITION,
    CORRUPTED,
    DISABLED,
    ENDPOINT,
    EXISTS,
    EXPIRED,
    EXPIRED_CREDENTIALS,
    EXTRA_FIELD,
    FUTURE,
    GLOBAL_TOKEN,
    GOOGLE_OVERWRITE,
    GOOGLE_PERMISSION,
    INVALID_ARGUMENT,
    INVALID_REQUEST,
    INVALID_SIGNATURE,
    KMS,
    MALFORMED_SECURITY_HEADER,
    NO_BUCKET,
    NOT_IMPLEMENTED,
    OBJECT_LOCK,
    POLICY_DOCUMENT,
    QUERY,
    QUOTA,
    REGION,
    RENEW_CREDENTIALS,
    ROW_LEVEL_SECURITY,
    SIGNATURE,
    THIRD_LEVEL,
    TOO_LARGE,
    TRANSIENT,
    UNCHANGED,
    VERSION_4,
    WORM,
)
from callback_sdk.transport.hints import Hint

HINTS: dict[str, tuple[Hint, ...]] = {
    "AccessControlListNotSupported": (Hint("The bucket has ACLs disabled: presign without an acl."),),
    "AccessDenied": ACCESS_DENIED,
    "AccessForbidden": ACCESS_DENIED,
    "AccountIsDisabled": (BILLING,),
    "AccountProblem": (BILLING,),
    "AllAccessDisabled": (DISABLED,),
    "AuthenticationFailed": AUTHENTICATION_FAILED,
    "AuthorizationFailure": (
        Hint(
            "The storage account's firewall blocks this network. An emulator responds with it too, if the URL was "
            "changed after signing or has expired. Allow the network, or generate a new SAS."
        ),
    ),
    "AuthorizationHeaderMalformed": (REGION, *QUERY),
    "AuthorizationPermissionMismatch": (Hint("Generate the SAS with the permissions to create and to write."),),
    "AuthorizationProtocolMismatch": (Hint("The SAS is for https only: use https://."),),
    "AuthorizationQueryParametersError": QUERY,
    "AuthorizationResourceTypeMismatch": (Hint("Generate the SAS for objects too: srt=o."),),
    "AuthorizationServiceMismatch": (Hint("Generate the SAS for the blob service: ss=b."),),
    "AuthorizationSourceIPMismatch": (
        Hint(
            "The SAS is for other addresses (sip) than the one this upload came from: generate it without, or with "
            "that one."
        ),
    ),
    "BadDigest": (CORRUPTED,),
    "BucketNotFound": (
        Hint(
            "The bucket doesn't exist, or whoever created the pre-authenticated request may no longer write to it: "
            "create another one."
        ),
    ),
    "BlobAlreadyExists": (BLOB_EXISTS,),
    "BlockCountExceedsLimit": (
        Hint(
            "Uploads to this blob that were given up have left too many blocks: delete the blob or upload an empty one "
            "by this name, or generate the SAS for another name. Blocks expire a week after the last one."
        ),
    ),
    "BlobImmutableDueToPolicy": (Hint(WORM.text),),
    "Busy": (TRANSIENT,),
    "ConditionNotMet": (BLOB_EXISTS,),
    "ConditionalRequestConflict": (Hint("Another upload of this key is under way. It is retried."),),
    "ContainerNotFound": (Hint("Create the container, or generate the SAS for an existing one."),),
    "Duplicate": (EXISTS,),
    "EntityTooLarge": TOO_LARGE,
    "EntityTooSmall": (
        Hint(
            "The store takes larger parts than those that were signed: presign with a larger part_size.",
            kinds="multipart",
        ),
        Hint("Presign again with a wider x-goog-content-length-range.", sends="x-goog-content-length-range"),
        Hint("Presign again with a wider content-length-range."),
    ),
    "ExpiredRequest": (Hint(EXPIRED.text),),
    "ExpiredToken": (
        Hint(EXPIRED.text, kinds="gcs"),
        EXPIRED_CREDENTIALS,
    ),
    "FileAlreadyExists": (EXISTS,),
    "FileImmutable": (Hint(WORM.text),),
    "Forbidden": ACCESS_DENIED,
    "IncompleteBody": (Hint("The connection or a proxy in between cut the body off. It is retried."),),
    "InsufficientAccountPermissions": (Hint("Generate the SAS with an account key or user that may write blobs."),),
    "InternalError": (GLOBAL_TOKEN, TRANSIENT),
    "InvalidAccessKeyId": (ACCESS_KEY,),
    "InvalidArgument": INVALID_ARGUMENT,
    "InvalidBlobOrBlock": (
        Hint(
            "An upload to this blob that was given up has left blocks whose ids have another length: delete the blob "
            "or upload an empty one by this name, or generate the SAS for another name. Blocks expire a week after the "
            "last one."
        ),
    ),
    "InvalidBlobType": (
        Hint("A blob of another type has this name: generate the SAS for another name, or delete that blob."),
    ),
    "InvalidBlockList": (Hint("Another upload to this blob has replaced its blocks. All of them are sent again."),),
    "InvalidBucketName": (
        Hint(
            "The bucket in the URL is not a valid name; it may be part of the endpoint twice: check both and presign "
            "again."
        ),
    ),
    "InvalidDigest": (CORRUPTED,),
    "InvalidHeaderValue": (
        Hint("The store rejects the value of a header: leave it out of s3_headers, or correct it."),
    ),
    "InvalidJWT": (EXPIRED, Hint("The token in the URL is damaged. " + UNCHANGED)),
    "InvalidPolicyDocument": POLICY_DOCUMENT,
    "InvalidRegion": (Hint(REGION.text),),
    "InvalidRequest": INVALID_REQUEST,
    "InvalidSecurity": (ACCESS_KEY,),
    "InvalidToken": (
        Hint(
            "The session token in the URL was changed; or the bucket's region is an opt-in one, which rejects tokens "
            "of the global STS endpoint: sign with AWS_STS_REGIONAL_ENDPOINTS=regional."
        ),
    ),
    "InvalidURI": (Hint("The key has characters or a length that the store rejects: presign another key."),),
    "KMS.DisabledException": (Hint("The bucket's KMS key is disabled: enable it, or choose another key."),),
    "KMS.KMSInvalidStateException": (
        Hint("The bucket's KMS key is pending deletion or unavailable: choose another key."),
    ),
    "KMS.NotFoundException": (Hint("The KMS key doesn't exist in the bucket's region: choose another key."),),
    "KeyAlreadyExists": (EXISTS,),
    "KeyTooLongError": (
        Hint("The key is longer than the store allows (1,024 bytes at Amazon S3): presign a shorter one."),
    ),
    "InvalidPart": (Hint("The store doesn't have a part that was sent. All are sent again."),),
    "InvalidPartOrder": (Hint("A proxy in between changed the list of parts."),),
    "LeaseIdMissing": (
        Hint("The blob is leased by someone else: end the lease, or generate the SAS for another name."),
    ),
    "MalformedPOSTRequest": (Hint("Pass all of s3_fields unchanged; a proxy in between may also change the form."),),
    "MalformedSecurityHeader": MALFORMED_SECURITY_HEADER,
    "MaxMessageLengthExceeded": (
        Hint("A field of the form is longer than the store accepts: presign with fewer fields and conditions."),
    ),
    "Md5Mismatch": (CORRUPTED,),
    "MethodNotAllowed": (
        Hint("The host doesn't support POST forms, or is a website's or a CDN's: presign a PUT instead.", kinds="post"),
        Hint(
            "The host doesn't accept uploads: it is a website's or a CDN's, and not the store's API; or the object is "
            "a delete marker. Presign for the API's endpoint."
        ),
    ),
    "MissingContentLength": (Hint("A proxy in between removed Content-Length, or sends the body in chunks."),),
    "MissingRequiredHeader": (Hint("A proxy in between removed a header."),),
    "MissingSecurityHeader": (Hint("A proxy in between removed a header."),),
    "NoAuthenticationInformation": (Hint("The SAS is missing from the URL: copy the complete URL, with its query."),),
    "NoSuchBucket": NO_BUCKET,
    "NoSuchUpload": (
        Hint(
            "The multipart upload was completed or aborted, by a lifecycle rule (AbortIncompleteMultipartUpload) for "
            "one, and the object isn't known to be this document: s3_parts has no head, or the object has another size "
            "or ETag. Presign again.",
        ),
    ),
    "NotImplemented": NOT_IMPLEMENTED,
    "OperationAborted": (TRANSIENT,),
    "OperationTimedOut": (TRANSIENT,),
    "PermanentRedirect": (Hint(ENDPOINT.text),),
    "PreconditionFailed": (
        Hint(
            "The object exists already with another document, or without head among s3_parts, and may be written only "
            "once (If-None-Match). Presign for another key.",
            kinds="multipart",
        ),
        Hint(
            "The object exists already, and may be written only once (If-None-Match). It may be that of an earlier "
            "attempt whose response was lost: compare its ETag with the MD5 {md5}.",
            sends="if-none-match",
        ),
        EXISTS,
    ),
    "PublicAccessNotPermitted": (Hint("The SAS is missing from the URL: copy the complete URL, with its query."),),
    "QuotaExceeded": (QUOTA,),
    "RequestBodyTooLarge": TOO_LARGE,
    "RequestTimeTooSkewed": (Hint("Set the clock of the machine that signed."),),
    "RequestTimeout": (Hint("The upload was too slow for the store. It is retried."),),
    "ResourceAlreadyExists": (EXISTS,),
    "SecondLevelDomainForbidden": (Hint(THIRD_LEVEL.text),),
    "ServerBusy": (TRANSIENT,),
    "ServiceUnavailable": (TRANSIENT,),
    "SignatureDoesNotMatch": SIGNATURE,
    "SlowDown": (Hint("It is retried. If it persists, distribute the keys over more prefixes."),),
    "SlowDownWrite": (Hint("It is retried. If it persists, the store's disks are overloaded or offline."),),
    "TemporaryRedirect": (Hint("The bucket is new, and the URL has the global host: presign for the regional host."),),
    "TokenRefreshRequired": (RENEW_CREDENTIALS,),
    "Unauthorized": (
        VERSION_4,
        EXPIRED,
        ROW_LEVEL_SECURITY,
        Hint(
            "The store doesn't accept the credentials that signed: the key was deleted, has expired, or belongs to "
            "another account. " + AGAIN
        ),
    ),
    "UnauthorizedBlobOverwrite": (
        Hint(
            "The blob exists already, and the SAS permits creating but not overwriting. It may be that of an earlier "
            "attempt whose response was lost: compare its Content-MD5 with the MD5 {md5}. Otherwise generate one with "
            "write, or for another name."
        ),
    ),
    "UserDisable": (BILLING,),
    "UserProjectAccountProblem": (BILLING,),
    "VirtualHostDomainRequired": (Hint(THIRD_LEVEL.text),),
    "XAmzContentChecksumMismatch": (CORRUPTED,),
    "XAmzContentSHA256Mismatch": (CORRUPTED,),
    "XMinioAdminBucketQuotaExceeded": (QUOTA,),
    "XMinioInvalidObjectName": (
        Hint("The key has characters or segments that the store rejects: presign another key."),
    ),
    "XMinioObjectExistsAsDirectory": (
        Hint("The key is the prefix of other objects on this store: presign another key."),
    ),
    "UnsupportedSignature": (Hint(GLOBAL_TOKEN.text),),
    "XMinioServerNotInitialized": (TRANSIENT,),
    "XMinioStorageFull": (Hint("The store's disks are full: free space. The delivery is retried meanwhile."),),
    "wrapError": (
        AISTORE_TOKEN,
        AISTORE_REFUSED,
        AISTORE_PERMISSION,
        Hint("AIStore has this code for all errors that S3 doesn't have: see the message, or the log of its proxy."),
    ),
    "KeyBasedAuthenticationNotPermitted": (
        Hint("The storage account forbids account keys: generate a user delegation SAS."),
    ),
}
"""Hints by the store's code. The first one that is true for a response is given."""

BY_MESSAGE: tuple[Hint, ...] = (
    EXPIRED,
    FUTURE,
    VERSION_4,
    OBJECT_LOCK,
    WORM,
    CHECKSUM,
    REGION,
    ENDPOINT,
    EXTRA_FIELD,
    CONDITION,
    KMS,
    ANONYMOUS,
    GOOGLE_OVERWRITE,
    GOOGLE_PERMISSION,
    ROW_LEVEL_SECURITY,
    CAP,
    *INVALID_SIGNATURE,
    Hint("The token in the URL is damaged. " + UNCHANGED, says=("invalid compact jws", "jwt malformed")),
    Hint(EXISTS.text, says=("already exists",)),
    Hint(TOO_LARGE[-1].text, says=("exceeded the maximum allowed size", "payload too large")),
    Hint(QUOTA.text, says=("quota exceeded", "storage full")),
)
"""Hints for responses whose code is unknown or missing."""
