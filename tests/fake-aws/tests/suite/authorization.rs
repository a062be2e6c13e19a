use fake_aws::{Action, FakeAws};
use serde_json::json;

use crate::client::{Answer, Client, PUT_RECORD_BATCH, batch, lenient};

const ROLE: &str = "arn:aws:iam::123456789012:role/shipping/producer";

/// The value of an element of XML.
fn element<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let (_, rest) = answer.text().split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("{}", answer.text()));
    rest.split_once(&format!("</{name}>")).expect("an end").0
}

fn assume(client: &mut Client, role: &str, more: &str) -> Answer {
    client.call_form(&format!("Action=AssumeRole&Version=2011-06-15&RoleArn={role}&RoleSessionName=test{more}"))
}

/// A client with the credentials of an assumed role.
fn session(aws: &FakeAws) -> Client {
    let mut client = Client::new(aws);
    let answer = assume(&mut client, ROLE, "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    client.access_key = element(&answer, "AccessKeyId").to_owned();
    client.token = Some(element(&answer, "SessionToken").to_owned());
    client
}

#[test]
fn a_request_without_a_signature_is_refused() {
    let aws = lenient().start();
    let mut client = Client::new(&aws);
    client.write(format!(
        "POST / HTTP/1.1\r\nContent-Type: application/x-amz-json-1.1\r\nX-Amz-Target: {PUT_RECORD_BATCH}\r\n\
         Content-Length: 2\r\n\r\n{{}}"
    ));
    let answer = client.receive().unwrap();
    answer.assert_error(400, "MissingAuthenticationTokenException", "Missing Authentication Token");
    assert_eq!(aws.counters().violations.len(), 1);
}

#[test]
fn signatures_of_the_wrong_form_are_refused() {
    let aws = lenient().start();
    aws.delivery_stream("beacons");
    let good = Client::new(&aws).head(PUT_RECORD_BATCH);
    let body = batch("beacons", &[b"x"]).to_string();
    let answer = |head: String| {
        let mut client = Client::new(&aws);
        client.write(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()));
        client.receive().unwrap()
    };
    assert_eq!(answer(good.clone()).status, 200);
    let wrong = [
        ("AWS4-HMAC-SHA256", "AWS4-HMAC-MD5", "IncompleteSignatureException"),
        ("Credential=", "Cred=", "IncompleteSignatureException"),
        ("Signature=", "Sig=", "IncompleteSignatureException"),
        ("SignedHeaders=host;x-amz-date;x-amz-target", "SignedHeaders=x-amz-date", "InvalidSignatureException"),
        ("SignedHeaders=host;x-amz-date;x-amz-target", "SignedHeaders=host", "InvalidSignatureException"),
        ("/firehose/", "/", "IncompleteSignatureException"),
        ("X-Amz-Date: 20", "X-Amz-Date: ", "IncompleteSignatureException"),
        ("X-Amz-Date: ", "X-Amz-Day: ", "IncompleteSignatureException"),
        ("/aws4_request", "/aws5_request", "InvalidSignatureException"),
    ];
    for (from, to, code) in wrong {
        assert!(good.contains(from));
        assert_eq!(answer(good.replace(from, to)).error().1, code, "{from} -> {to}");
    }
}

#[test]
fn a_wrong_signature_is_refused_unless_signatures_are_not_verified() {
    let aws = FakeAws::start();
    aws.delivery_stream("beacons");
    Client::new(&aws).put(&[b"x"]).assert_error(
        400,
        "InvalidSignatureException",
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access \
         Key and signing method. Consult the service documentation for details.",
    );
    // Only one who signs knows the difference: what the client sent is of the right form.
    assert!(aws.counters().violations.is_empty());
}

#[test]
fn unknown_keys_are_refused() {
    let aws = lenient().start();
    aws.delivery_stream("beacons");
    let mut client = Client::new(&aws);
    client.access_key = "AKIAUNKNOWN".to_owned();
    let invalid = "The security token included in the request is invalid.";
    client.put(&[b"x"]).assert_error(400, "UnrecognizedClientException", invalid);
    let answer = client.call_form("Action=GetCallerIdentity&Version=2011-06-15");
    assert_eq!((answer.status, element(&answer, "Code")), (403, "InvalidClientTokenId"));
}

#[test]
fn a_signature_is_for_one_region_and_one_service() {
    let aws = lenient().region("eu-west-1").start();
    aws.delivery_stream("beacons");
    let mut client = Client::new(&aws);
    client.region = "us-east-1".to_owned();
    let message = "Credential should be scoped to a valid region, not 'us-east-1'. ";
    client.put(&[b"x"]).assert_error(400, "InvalidSignatureException", message);
    assert_eq!(client.call_form("Action=GetCallerIdentity&Version=2011-06-15").status, 200);
    client.region = "eu-west-1".to_owned();
    client.service = Some("kinesis");
    let message = "Credential should be scoped to correct service: 'firehose'. ";
    client.put(&[b"x"]).assert_error(400, "InvalidSignatureException", message);
    client.service = None;
    assert_eq!(client.put(&[b"x"]).status, 200);
}

#[test]
fn clocks_differ_by_5_minutes_at_most() {
    let aws = lenient().start();
    aws.delivery_stream("beacons");
    let mut client = Client::new(&aws);
    for good in [-290, 0, 290] {
        client.clock = good;
        assert_eq!(client.put(&[b"x"]).status, 200, "{good}");
    }
    for (clock, begin, end) in
        [(-310, "Signature expired: ", " - 5 min.)"), (310, "Signature not yet current: ", " + 5 min.)")]
    {
        client.clock = clock;
        let (status, code, message) = client.put(&[b"x"]).error();
        assert_eq!((status, code.as_str()), (400, "InvalidSignatureException"));
        assert!(message.starts_with(begin) && message.ends_with(end), "{message}");
        aws.clock_offset(clock);
        assert_eq!(client.put(&[b"x"]).status, 200);
        aws.clock_offset(0);
    }
}

#[test]
fn a_caller_is_told_who_it_is() {
    let aws = lenient().start();
    let mut client = Client::new(&aws);
    let answer = client.call_form("Action=GetCallerIdentity&Version=2011-06-15");
    assert_eq!(element(&answer, "Arn"), "arn:aws:iam::123456789012:user/pixel-engine");
    assert_eq!(element(&answer, "Account"), "123456789012");
    let answer = session(&aws).call_form("Action=GetCallerIdentity&Version=2011-06-15");
    assert_eq!(element(&answer, "Arn"), "arn:aws:sts::123456789012:assumed-role/producer/test");
}

#[test]
fn temporary_credentials_need_their_token_and_expire() {
    let aws = lenient().start();
    aws.delivery_stream("beacons");
    let mut client = session(&aws);
    assert_eq!(client.put(&[b"x"]).status, 200);
    let token = client.token.take();
    assert_eq!(client.put(&[b"x"]).error().1, "UnrecognizedClientException");
    client.token = Some("another".to_owned());
    assert_eq!(client.put(&[b"x"]).error().1, "UnrecognizedClientException");
    client.token = token;
    aws.expire_sessions();
    let message = "The security token included in the request is expired";
    client.put(&[b"x"]).assert_error(400, "ExpiredTokenException", message);
    let answer = client.call_form("Action=GetCallerIdentity&Version=2011-06-15");
    assert_eq!((answer.status, element(&answer, "Code")), (403, "ExpiredToken"));
    assert_eq!(session(&aws).put(&[b"x"]).status, 200);

    let mut client = session(&aws);
    client.clock = 3605;
    aws.clock_offset(3605);
    assert_eq!(client.put(&[b"x"]).error().1, "ExpiredTokenException");
}

#[test]
fn roles_can_be_forbidden_and_their_arguments_be_wrong() {
    let aws = lenient().start();
    aws.forbid_role(ROLE);
    let mut client = Client::new(&aws);
    let answer = assume(&mut client, ROLE, "");
    assert_eq!((answer.status, element(&answer, "Code"), element(&answer, "Type")), (403, "AccessDenied", "Sender"));
    assert_eq!(
        element(&answer, "Message"),
        format!(
            "User: arn:aws:iam::123456789012:user/pixel-engine is not authorized to perform: sts:AssumeRole on \
             resource: {ROLE}"
        )
    );
    assert!(aws.counters().violations.is_empty());
    for (role, more) in [(ROLE, "&DurationSeconds=899"), ("producer", ""), (ROLE, "%20x")] {
        let answer = assume(&mut client, role, more);
        assert_eq!((answer.status, element(&answer, "Code")), (400, "ValidationError"), "{role} {more}");
    }
}

#[test]
fn actions_can_be_denied_to_a_key_and_to_a_role() {
    let aws = lenient().region("eu-west-1").start();
    aws.delivery_stream("beacons");
    aws.stream("hits", 1);
    let key = aws.credentials().access_key.clone();
    aws.deny(&key, Action::PutRecordBatch).deny(ROLE, Action::ListShards);
    let (mut user, mut role) = (Client::new(&aws), session(&aws));
    user.put(&[b"x"]).assert_error(
        400,
        "AccessDeniedException",
        "User: arn:aws:iam::123456789012:user/pixel-engine is not authorized to perform: firehose:PutRecordBatch on \
         resource: arn:aws:firehose:eu-west-1:123456789012:deliverystream/beacons because no identity-based policy \
         allows the firehose:PutRecordBatch action",
    );
    assert_eq!(role.put(&[b"x"]).status, 200);
    let list = json!({ "StreamName": "hits" });
    assert_eq!(user.call("Kinesis_20131202.ListShards", &list).status, 200);
    let (_, code, message) = role.call("Kinesis_20131202.ListShards", &list).error();
    assert_eq!(code, "AccessDeniedException");
    assert!(message.starts_with("User: arn:aws:sts::123456789012:assumed-role/producer/test is not authorized"));
    aws.allow(&key, Action::PutRecordBatch);
    assert_eq!(user.put(&[b"x"]).status, 200);
    assert!(aws.counters().violations.is_empty());
}
