//! Who sends a request, and whether they may: Signature Version 4, temporary credentials and denied
//! actions.
//!
//! The rules are those of "Create a signed AWS API request" in the IAM user guide; the messages are
//! those that people quote from the services.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::Mutex;

use hmac::{Hmac, KeyInit, Mac};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use crate::action::Action;
use crate::http::Head;
use crate::lock;
use crate::refusal::Refusal;

/// What a client signs with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Credentials {
    /// The access key's id.
    pub access_key: String,
    /// The secret.
    pub secret_key: String,
    /// Of temporary credentials.
    pub session_token: Option<String>,
}

/// Who a request comes from.
#[derive(Clone, Debug)]
pub(crate) struct Principal {
    pub(crate) access_key: String,
    pub(crate) arn: String,
    pub(crate) user_id: String,
    /// The role, of an assumed one.
    pub(crate) role: Option<String>,
}

#[derive(Debug)]
struct Key {
    secret: String,
    session: Option<Session>,
    principal: Principal,
}

#[derive(Debug)]
struct Session {
    token: String,
    expires: Timestamp,
}

/// Where and when signatures are good.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    pub(crate) region: &'a str,
    pub(crate) now: Timestamp,
    /// Whether the signature itself is computed and compared.
    pub(crate) signatures: bool,
}

/// The keys that exist, and what they may not do.
#[derive(Debug, Default)]
pub(crate) struct Authority {
    keys: Mutex<HashMap<String, Key>>,
    /// Of an access key or a role, an action.
    denied: Mutex<HashSet<(String, Action)>>,
    /// Roles that nobody may assume.
    forbidden_roles: Mutex<HashSet<String>>,
}

impl Authority {
    /// How far a request's clock may be from the server's.
    const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

    pub(crate) fn add_user(&self, credentials: &Credentials, arn: String) {
        let Credentials { access_key, secret_key, .. } = credentials.clone();
        let user_id = "AIDACKCEVSQ6C2EXAMPLE".to_owned();
        let principal = Principal { access_key: access_key.clone(), arn, user_id, role: None };
        lock(&self.keys).insert(access_key, Key { secret: secret_key, session: None, principal });
    }

    pub(crate) fn add_session(&self, credentials: &Credentials, principal: Principal, expires: Timestamp) {
        let Credentials { access_key, secret_key, session_token } = credentials.clone();
        let session = session_token.map(|token| Session { token, expires });
        lock(&self.keys).insert(access_key, Key { secret: secret_key, session, principal });
    }

    pub(crate) fn expire_sessions(&self) {
        for session in lock(&self.keys).values_mut().filter_map(|key| key.session.as_mut()) {
            session.expires = Timestamp::MIN;
        }
    }

    pub(crate) fn deny(&self, key_or_role: &str, action: Action) {
        lock(&self.denied).insert((key_or_role.to_owned(), action));
    }

    pub(crate) fn allow(&self, key_or_role: &str, action: Action) {
        lock(&self.denied).remove(&(key_or_role.to_owned(), action));
    }

    pub(crate) fn forbid_role(&self, role: &str) {
        lock(&self.forbidden_roles).insert(role.to_owned());
    }

    pub(crate) fn role_is_forbidden(&self, role: &str) -> bool {
        lock(&self.forbidden_roles).contains(role)
    }

    /// Refuses what that principal may not do.
    pub(crate) fn check(&self, principal: &Principal, action: Action, resource: &str) -> Result<(), Refusal> {
        let denied = lock(&self.denied);
        let names = [Some(&principal.access_key), principal.role.as_ref()];
        if names.into_iter().flatten().any(|name| denied.contains(&(name.clone(), action))) {
            return Err(denial(principal, action, resource));
        }
        Ok(())
    }

    /// Checks the request's signature, and says whose it is.
    pub(crate) fn verify(
        &self,
        head: &Head,
        body: &[u8],
        service: &str,
        scope: Scope<'_>,
    ) -> Result<Principal, Refusal> {
        let header = head
            .header("authorization")
            .ok_or_else(|| Refusal::violation("MissingAuthenticationTokenException", "Missing Authentication Token"))?;
        let signature = Signature::parse(header, head)?;
        let (principal, secret) = self.identify(&signature, head, scope.now)?;
        signature.check_scope(service, scope)?;
        if scope.signatures && signature.expected(head, body, &secret) != signature.given {
            return Err(bad_signature(
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
                 Access Key and signing method. Consult the service documentation for details.",
            ));
        }
        Ok(principal)
    }

    /// Whose access key it is, and the secret.
    fn identify(&self, signature: &Signature<'_>, head: &Head, now: Timestamp) -> Result<(Principal, String), Refusal> {
        let keys = lock(&self.keys);
        let key = keys.get(signature.access_key).ok_or_else(unknown_token)?;
        match (&key.session, head.header("x-amz-security-token").filter(|token| !token.is_empty())) {
            (None, None) => {}
            (Some(session), Some(token)) if session.token == token => {
                if session.expires <= now {
                    let message = "The security token included in the request is expired";
                    return Err(Refusal::new("ExpiredTokenException", message));
                }
            }
            _ => return Err(unknown_token()),
        }
        Ok((key.principal.clone(), key.secret.clone()))
    }
}

/// "because no identity-based policy allows": what IAM says when nothing allows an action.
pub(crate) fn denial(principal: &Principal, action: Action, resource: &str) -> Refusal {
    let (arn, permission) = (&principal.arn, action.permission());
    Refusal::new(
        "AccessDeniedException",
        format!(
            "User: {arn} is not authorized to perform: {permission} on resource: {resource} because no identity-based \
             policy allows the {permission} action"
        ),
    )
}

fn unknown_token() -> Refusal {
    Refusal::new("UnrecognizedClientException", "The security token included in the request is invalid.")
}

fn bad_signature(message: impl Into<String>) -> Refusal {
    Refusal::new("InvalidSignatureException", message)
}

/// An `Authorization` header, taken apart.
struct Signature<'a> {
    access_key: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    terminator: &'a str,
    signed_headers: &'a str,
    given: &'a str,
    /// `X-Amz-Date`.
    timestamp: &'a str,
}

impl<'a> Signature<'a> {
    const ALGORITHM: &'static str = "AWS4-HMAC-SHA256";

    fn parse(header: &'a str, head: &'a Head) -> Result<Signature<'a>, Refusal> {
        let incomplete = |message| Refusal::violation("IncompleteSignatureException", message);
        let (algorithm, parameters) = header.split_once(' ').unwrap_or((header, ""));
        if algorithm != Self::ALGORITHM {
            return Err(incomplete(format!("Unsupported AWS 'algorithm': '{algorithm}'.")));
        }
        let parameter = |name: &str| {
            let mut pairs = parameters.split(',').filter_map(|part| part.trim().split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value).filter(|value| !value.is_empty())
        };
        let mut missing = String::new();
        let mut required = |name| {
            parameter(name).unwrap_or_else(|| {
                let _ = write!(missing, "Authorization header requires '{name}' parameter. ");
                ""
            })
        };
        let credential = required("Credential");
        let given = required("Signature");
        let signed_headers = required("SignedHeaders");
        let timestamp = head.header("x-amz-date").unwrap_or_default();
        if timestamp.is_empty() {
            missing.push_str("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ");
        }
        if !missing.is_empty() {
            return Err(incomplete(format!("{missing}Authorization={header}")));
        }
        let parts: Vec<&str> = credential.split('/').collect();
        let &[access_key, date, region, service, terminator] = parts.as_slice() else {
            return Err(incomplete(format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got \
                 '{credential}'"
            )));
        };
        for name in ["host", "x-amz-date"] {
            if !signed_headers.split(';').any(|signed| signed == name) {
                let message = format!("'{name}' must be a 'SignedHeader' in the AWS Authorization.");
                return Err(Refusal::violation("InvalidSignatureException", message));
            }
        }
        Ok(Signature { access_key, date, region, service, terminator, signed_headers, given, timestamp })
    }

    fn check_scope(&self, service: &str, scope: Scope<'_>) -> Result<(), Refusal> {
        let Signature { date, region, timestamp, terminator, .. } = self;
        if self.service != service {
            return Err(bad_signature(format!("Credential should be scoped to correct service: '{service}'. ")));
        }
        // The one global endpoint of STS is in us-east-1, and its signatures are good everywhere.
        if *region != scope.region && !(service == "sts" && *region == "us-east-1") {
            return Err(bad_signature(format!("Credential should be scoped to a valid region, not '{region}'. ")));
        }
        if *terminator != "aws4_request" {
            return Err(bad_signature(format!(
                "Credential should be scoped with a valid terminator: 'aws4_request', not '{terminator}'. "
            )));
        }
        let sent = parse_time(timestamp).ok_or_else(|| {
            let message = format!(
                "Date must be in ISO-8601 'basic format'. Got '{timestamp}'. See http://en.wikipedia.org/wiki/ISO_8601"
            );
            Refusal::violation("IncompleteSignatureException", message)
        })?;
        if !timestamp.starts_with(date) {
            let day = &timestamp[..8];
            return Err(bad_signature(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{date}' \
                 != '{day}', from '{timestamp}'."
            )));
        }
        let (now, tolerance) = (scope.now, Authority::TOLERANCE);
        let (earliest, latest) = (now - tolerance, now + tolerance);
        let [now_text, earliest_text, latest_text] = [now, earliest, latest].map(format_time);
        if sent < earliest {
            return Err(bad_signature(format!(
                "Signature expired: {timestamp} is now earlier than {earliest_text} ({now_text} - 5 min.)"
            )));
        }
        if sent > latest {
            return Err(bad_signature(format!(
                "Signature not yet current: {timestamp} is still later than {latest_text} ({now_text} + 5 min.)"
            )));
        }
        Ok(())
    }

    /// The signature that the secret gives this request.
    fn expected(&self, head: &Head, body: &[u8], secret: &str) -> String {
        let Signature { date, region, service, terminator, signed_headers, timestamp, .. } = self;
        let (path, query) = head.path.split_once('?').unwrap_or((&head.path, ""));
        let mut parameters: Vec<String> = query.split('&').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        parameters.iter_mut().filter(|part| !part.contains('=')).for_each(|part| part.push('='));
        parameters.sort();
        let mut request = format!("{}\n{path}\n{}\n", head.method, parameters.join("&"));
        for name in signed_headers.split(';') {
            let values: Vec<String> =
                head.headers(name).map(|value| value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")).collect();
            let _ = writeln!(request, "{name}:{}", values.join(","));
        }
        let _ = write!(request, "\n{signed_headers}\n{}", hex(&Sha256::digest(body)));
        let request = hex(&Sha256::digest(request));
        let algorithm = Self::ALGORITHM;
        let string = format!("{algorithm}\n{timestamp}\n{date}/{region}/{service}/{terminator}\n{request}");
        let mut key = format!("AWS4{secret}").into_bytes();
        for part in [date, region, service, terminator] {
            key = hmac(&key, part.as_bytes());
        }
        hex(&hmac(&key, string.as_bytes()))
    }
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

const TIME: &str = "%Y%m%dT%H%M%SZ";

fn parse_time(text: &str) -> Option<Timestamp> {
    let time = DateTime::strptime(TIME, text).ok()?;
    // Eight digits of a date stand first: the format alone would take fewer.
    (text.len() == 16).then_some(())?;
    TimeZone::UTC.to_timestamp(time).ok()
}

fn format_time(time: Timestamp) -> String {
    time.strftime(TIME).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cases `get-vanilla` and `post-vanilla` of AWS's test suite for Signature Version 4, and
    /// one with a body and headers to be tidied: `post-x-www-form-urlencoded`.
    #[test]
    fn signatures_are_those_of_aws_test_suite() {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let cases = [
            ("GET", "", "", "host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            ("POST", "", "", "host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
            (
                "POST",
                "Content-Type:  application/x-www-form-urlencoded \r\n",
                "Param1=value1",
                "content-type;host;x-amz-date",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
        ];
        for (method, headers, body, signed, signature) in cases {
            let head = format!(
                "{method} / HTTP/1.1\r\nHost:example.amazonaws.com\r\nX-Amz-Date:20150830T123600Z\r\n{headers}\r\n"
            );
            let head = Head::parse(head.as_bytes()).expect("the head is good").expect("the head is complete");
            let header = format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                 SignedHeaders={signed}, Signature={signature}"
            );
            let parsed = Signature::parse(&header, &head).expect("the header is complete");
            assert_eq!(parsed.expected(&head, body.as_bytes(), secret), signature, "{method} {body}");
        }
    }

    #[test]
    fn times_are_of_one_form() {
        let time = parse_time("20150830T123600Z").expect("a time");
        assert_eq!(format_time(time), "20150830T123600Z");
        for bad in ["", "2015-08-30T12:36:00Z", "20150830T123600", "150830T123600Z", "20151330T123600Z"] {
            assert!(parse_time(bad).is_none(), "{bad}");
        }
    }
}
