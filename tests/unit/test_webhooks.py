"""Standard Webhooks, with the specification's own example."""

from __future__ import annotations

import base64
import shutil
import subprocess
from contextlib import suppress
from datetime import datetime, timedelta, timezone

import pytest
from standardwebhooks import Webhook

from callback_sdk import webhooks
from callback_sdk.documents.body import Body
from callback_sdk.errors import ConfigurationError, WebhookVerificationError
from callback_sdk.redaction import Secret
from callback_sdk.text.limits import MAX_WEBHOOK_HEADER
from tests.growth import assert_linear

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()
ID, TIME = "msg_p5jXN8AQM9LWM0D4loKWxJek", datetime.fromtimestamp(1614265330, timezone.utc)
BODY = b'{"test": 2432232314}'


def signed(*secrets: str, body: bytes = BODY) -> dict[str, str]:
    return webhooks.sign([webhooks.decode_secret(s) for s in secrets], ID, TIME, Body(body))


def test_specifications_example_is_signed_as_it_says() -> None:
    """The known secret, id, time and body have the known signature."""
    assert signed(SECRET) == {
        "webhook-id": ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_a_signed_webhook_verifies() -> None:
    """With header names in any case; the id is returned."""
    headers = {name.title(): value for name, value in signed(SECRET).items()}
    assert webhooks.verify(SECRET, headers, BODY, now=TIME) == ID


def test_secrets_rotate_on_both_sides() -> None:
    """Old receivers accept webhooks of new senders while both secrets are in use, and vice versa."""
    webhooks.verify(SECRET, signed(OTHER, SECRET), BODY, now=TIME)
    webhooks.verify([OTHER, SECRET], signed(SECRET), BODY, now=TIME)


@pytest.mark.parametrize(
    ("change", "body"),
    [
        ({"webhook-id": "msg_other"}, BODY),
        ({"webhook-timestamp": "1614265331"}, BODY),
        ({"webhook-signature": "v1,AAAA"}, BODY),
        ({"webhook-signature": "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="}, BODY),
        ({"webhook-signature": "v1,é"}, BODY),
        ({}, BODY + b" "),
    ],
)
def test_a_changed_webhook_does_not_verify(change: dict[str, str], body: bytes) -> None:
    """Id, timestamp, signature and body are covered."""
    with pytest.raises(WebhookVerificationError, match="signature"):
        webhooks.verify(SECRET, {**signed(SECRET), **change}, body, now=TIME)


PRIVATE = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
"""A key pair that is used in tests of Svix."""

RFC8032 = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
RFC8032_PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
"""The key of test 1 in RFC 8032, section 7.1."""


def of_hex(prefix: str, text: str) -> str:
    return prefix + base64.b64encode(bytes.fromhex(text)).decode()


def test_public_key_belongs_to_the_secret_key() -> None:
    """With and without the public key as its second half, which some libraries store."""
    assert webhooks.public_key(PRIVATE) == PUBLIC
    assert webhooks.public_key(of_hex("whsk_", RFC8032)) == of_hex("whpk_", RFC8032_PUBLIC)
    assert webhooks.public_key(of_hex("whsk_", RFC8032 + RFC8032_PUBLIC)) == of_hex("whpk_", RFC8032_PUBLIC)


@pytest.mark.parametrize("secret", [PRIVATE, of_hex("whsk_", RFC8032)])
def test_asymmetric_signature_verifies_with_the_public_key(secret: str) -> None:
    """The receiver has nothing to sign with."""
    headers = signed(secret)
    assert headers["webhook-signature"].startswith("v1a,")
    assert webhooks.verify(webhooks.public_key(secret), headers, BODY, now=TIME) == ID
    for change in ({"webhook-id": "msg_2"}, {"webhook-timestamp": "1614265331"}, {"webhook-signature": "v1a,AAAA"}):
        with pytest.raises(WebhookVerificationError, match="signature"):
            webhooks.verify(webhooks.public_key(secret), {**headers, **change}, BODY, now=TIME)
    with pytest.raises(WebhookVerificationError, match="signature"):
        webhooks.verify(webhooks.public_key(secret), headers, BODY + b" ", now=TIME)


def test_both_kinds_of_signatures_are_sent_and_verified_together() -> None:
    """Receivers can be changed one after the other."""
    headers = signed(PRIVATE, SECRET)
    assert [one.partition(",")[0] for one in headers["webhook-signature"].split()] == ["v1a", "v1"]
    for secrets in (SECRET, PUBLIC, [OTHER, PUBLIC], [SECRET, PUBLIC]):
        assert webhooks.verify(secrets, headers, BODY, now=TIME) == ID


def test_public_key_is_no_shared_secret() -> None:
    """An attacker knows it: what is signed with it as a secret doesn't verify."""
    shared = webhooks.SigningKey("v1", Secret(base64.b64decode(PUBLIC.removeprefix("whpk_"))))
    signature = shared.sign(ID, "1614265330", Body(BODY))
    for forged in (signature, signature.replace("v1,", "v1a,")):
        with pytest.raises(WebhookVerificationError, match="signature"):
            webhooks.verify(PUBLIC, {**signed(SECRET), "webhook-signature": forged}, BODY, now=TIME)


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        (PUBLIC, "public key"),
        ("whsk_AAAA", "32 or 64 bytes"),
        ("whsk_!no base64", "32 or 64 bytes"),
        (of_hex("whsk_", RFC8032 + "00" * 32), "two halves"),
        (f"v1,{SECRET}", "24 to 64"),
    ],
)
def test_secret_that_cant_sign_is_rejected(secret: str, words: str) -> None:
    """Early, and without showing it."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        webhooks.decode_secret(secret).check()
    assert secret[6:] not in str(caught.value)


@pytest.mark.parametrize(("secret", "words"), [(PRIVATE, "sender's secret key"), ("whpk_AAAA", "32 bytes")])
def test_key_that_cant_verify_is_rejected(secret: str, words: str) -> None:
    """The hint says what the receiver needs."""
    with pytest.raises(ConfigurationError, match=words):
        webhooks.verify(secret, signed(SECRET), BODY, now=TIME)


@pytest.mark.parametrize("scheme", ["v1", "v1a"])
def test_generated_secrets_work_and_differ(scheme: webhooks.Scheme) -> None:
    """Each has 256 random bits."""
    first, second = webhooks.generate_secret(scheme), webhooks.generate_secret(scheme)
    assert first != second
    receivers = webhooks.public_key(first) if scheme == "v1a" else first
    assert webhooks.verify(receivers, signed(first), BODY, now=TIME) == ID
    with pytest.raises(WebhookVerificationError):
        webhooks.verify(receivers, signed(second), BODY, now=TIME)


def test_unknown_scheme_and_shared_secret_have_no_key_pair() -> None:
    """The errors name what there is."""
    with pytest.raises(ConfigurationError, match="scheme is 'v2'"):
        webhooks.generate_secret("v2")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="no public key"):
        webhooks.public_key(SECRET)


@pytest.mark.parametrize("secret", [f" {SECRET}\n", OTHER.rstrip("="), SECRET.removeprefix("whsec_")])
def test_spelling_of_a_secret_does_not_matter(secret: str) -> None:
    """Files end with a line break, and some senders leave the padding of base64 out."""
    whole = OTHER if secret.startswith(OTHER[:10]) else SECRET
    assert webhooks.verify(secret, signed(whole), BODY, now=TIME) == ID


def test_python_library_of_the_standard_verifies_ours_and_we_verify_its() -> None:
    """It knows `v1` only, and has to pass over `v1a`."""
    now = datetime.now(timezone.utc)
    headers = webhooks.sign([webhooks.decode_secret(s) for s in (PRIVATE, OTHER, SECRET)], ID, now, Body(BODY))
    assert Webhook(SECRET).verify(BODY, headers) == {"test": 2432232314}
    theirs = {**headers, "webhook-signature": Webhook(SECRET).sign(ID, now, BODY.decode())}
    assert webhooks.verify(SECRET, theirs, BODY) == ID


_NODE = """
const crypto = require('crypto');
const [secret, id, seconds] = process.argv.slice(1);
const body = require('fs').readFileSync(0);
const content = Buffer.concat([Buffer.from(`${id}.${seconds}.`), body]);
const seed = Buffer.from(secret.slice('whsk_'.length), 'base64').subarray(0, 32);
const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]);
const key = crypto.createPrivateKey({key: der, format: 'der', type: 'pkcs8'});
const raw = crypto.createPublicKey(key).export({format: 'der', type: 'spki'}).subarray(-32);
console.log(`v1a,${crypto.sign(null, content, key).toString('base64')} whpk_${raw.toString('base64')}`);
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_node_signs_the_same() -> None:
    """Ed25519 is deterministic: another implementation gives the same signature and the same public key."""
    secret = webhooks.generate_secret("v1a")
    command = ["node", "-e", _NODE, secret, ID, "1614265330"]
    said = subprocess.run(command, input=BODY, capture_output=True, check=True, timeout=60).stdout.decode().split()
    assert said == [signed(secret)["webhook-signature"], webhooks.public_key(secret)]


def test_another_secret_does_not_verify() -> None:
    """The secret counts."""
    with pytest.raises(WebhookVerificationError, match="signature"):
        webhooks.verify(OTHER, signed(SECRET), BODY, now=TIME)


@pytest.mark.parametrize("off", [timedelta(minutes=6), timedelta(minutes=-6)])
def test_webhook_of_another_time_does_not_verify(off: timedelta) -> None:
    """A recorded webhook can't be played again later."""
    with pytest.raises(WebhookVerificationError, match="clock"):
        webhooks.verify(SECRET, signed(SECRET), BODY, now=TIME + off)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_missing_header_is_named(name: str) -> None:
    """The error says which."""
    headers = {key: value for key, value in signed(SECRET).items() if key != name}
    with pytest.raises(WebhookVerificationError, match=name):
        webhooks.verify(SECRET, headers, BODY, now=TIME)


def test_without_a_secret_there_is_an_id_and_no_signature() -> None:
    """Receivers can still detect repeated deliveries."""
    assert signed() == {"webhook-id": ID, "webhook-timestamp": "1614265330"}


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_short", "whsec_!!!notbase64!!!notbase64!!!", "hunter2" * 30])
def test_secret_that_is_none_is_refused_without_repeating_it(secret: str) -> None:
    """The error tells how to make one, and doesn't show it."""
    with pytest.raises(ConfigurationError, match="24 to 64") as caught:
        webhooks.decode_secret(secret)
    assert secret == "" or secret.removeprefix("whsec_") not in str(caught.value) or secret == "whsec_"


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_long_header_is_rejected(name: str) -> None:
    """Before it is parsed; Python itself refuses to parse integers with many digits."""
    for length in (5000, MAX_WEBHOOK_HEADER + 1):
        with pytest.raises(WebhookVerificationError):
            webhooks.verify(SECRET, signed(SECRET) | {name: "1" * length}, BODY, now=TIME)


@pytest.mark.parametrize("piece", ["v1,", "v1, ", "v1,a ", ",", " "])
def test_time_grows_with_the_signatures_and_not_faster(piece: str) -> None:
    """Each signature is compared once with each secret's."""

    def work(signatures: str) -> None:
        with suppress(WebhookVerificationError):
            webhooks.verify([SECRET, OTHER], signed(SECRET) | {"webhook-signature": signatures}, BODY, now=TIME)

    assert_linear(work, (piece * 512)[:512], (piece * 8192)[:8192], ratio=16)
