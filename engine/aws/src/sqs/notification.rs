//! What a message says of objects: a notification of S3 itself, the same through SNS, or an event of
//! EventBridge.
//!
//! Sources: "Event message structure" and "EventBridge event message structure" in the user guide of
//! S3; "Raw message delivery" in the developer guide of SNS, for the envelope that there is without.

use serde::Deserialize;
use serde_json::value::RawValue;

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notification {
    /// These objects were created. What else happened to objects is left out.
    Created(Vec<NewObject>),
    /// The notification was set up: S3 sends this once, before any other.
    Test,
}

/// An object that was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewObject {
    /// Its bucket.
    pub bucket: String,
    /// Its key, as it is.
    pub key: String,
    /// Its size in bytes, if it is said.
    pub size: Option<u64>,
    /// What tells its content from another, in quotes as the headers of S3 have it, if it is said.
    pub etag: Option<String>,
    /// What tells the event from every other of that key, if it is said.
    pub sequencer: Option<String>,
    /// The JSON that says so, for whoever has to look into it.
    pub json: String,
}

/// The body of a message that is none of these.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotNotification {
    /// It is no JSON, or a member is missing: usually something else sends to the queue too.
    #[error("not a notification of S3: {0}")]
    Json(#[from] serde_json::Error),
    /// It is JSON of something else.
    #[error("not a notification of S3: it has neither `Records` nor `detail`")]
    Other,
    /// A key that is no text once it is decoded.
    #[error("the key `{0}` is not UTF-8 once it is decoded")]
    Key(String),
}

impl Notification {
    /// Reads the body of a message.
    ///
    /// # Errors
    /// It is no notification.
    pub fn parse(body: &str) -> Result<Notification, NotNotification> {
        let envelope: Envelope<'_> = serde_json::from_str(body)?;
        match envelope {
            // Of SNS: the notification is a text in it.
            Envelope { kind: Some(kind), message: Some(message), .. } if kind == "Notification" => {
                Notification::of(serde_json::from_str(&message)?)
            }
            other => Notification::of(other),
        }
    }

    fn of(envelope: Envelope<'_>) -> Result<Notification, NotNotification> {
        if let Some(records) = envelope.records {
            let created = records.into_iter().map(of_record).filter_map(Result::transpose);
            return Ok(Notification::Created(created.collect::<Result<_, _>>()?));
        }
        if let Some(detail) = envelope.detail {
            let is_created = envelope.detail_type.as_deref() == Some("Object Created");
            let created = if is_created { vec![of_detail(detail)?] } else { Vec::new() };
            return Ok(Notification::Created(created));
        }
        match envelope.event.as_deref() {
            Some("s3:TestEvent") => Ok(Notification::Test),
            _ => Err(NotNotification::Other),
        }
    }
}

/// All three forms, of whose members the other ones are missing.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "Type")]
    kind: Option<String>,
    #[serde(rename = "Message")]
    message: Option<String>,
    #[serde(rename = "Records", borrow)]
    records: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
    #[serde(rename = "detail-type")]
    detail_type: Option<String>,
    #[serde(rename = "Event")]
    event: Option<String>,
}

#[derive(Deserialize)]
struct Record {
    #[serde(rename = "eventName")]
    event_name: String,
    s3: Subject,
}

#[derive(Deserialize)]
struct Subject {
    bucket: Bucket,
    object: Object,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Deserialize)]
struct Object {
    key: String,
    size: Option<u64>,
    #[serde(alias = "eTag")]
    etag: Option<String>,
    sequencer: Option<String>,
}

/// The object of a record of S3, unless it is about something else than a new one.
fn of_record(json: &RawValue) -> Result<Option<NewObject>, NotNotification> {
    let Record { event_name, s3 } = serde_json::from_str(json.get())?;
    if !event_name.trim_start_matches("s3:").starts_with("ObjectCreated:") {
        return Ok(None);
    }
    let key = decoded(&s3.object.key)?;
    Ok(Some(NewObject::new(s3, key, json)))
}

/// The object of the detail of EventBridge, whose key is as it is.
fn of_detail(json: &RawValue) -> Result<NewObject, NotNotification> {
    let subject: Subject = serde_json::from_str(json.get())?;
    let key = subject.object.key.clone();
    Ok(NewObject::new(subject, key, json))
}

impl NewObject {
    fn new(subject: Subject, key: String, json: &RawValue) -> NewObject {
        let Subject { bucket, object: Object { size, etag, sequencer, .. } } = subject;
        let etag = etag.filter(|etag| !etag.is_empty()).map(|etag| format!("\"{}\"", etag.trim_matches('"')));
        NewObject { bucket: bucket.name, key, size, etag, sequencer, json: json.get().to_owned() }
    }
}

/// A key as forms encode it: a blank is `+`.
fn decoded(key: &str) -> Result<String, NotNotification> {
    let blanks = key.replace('+', " ");
    let text = percent_encoding::percent_decode_str(&blanks).decode_utf8();
    text.map(Into::into).map_err(|_| NotNotification::Key(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{"eventVersion":"2.1","eventSource":"aws:s3","awsRegion":"eu-west-1",
        "eventTime":"2026-11-30T08:00:00.000Z","eventName":"ObjectCreated:Put","s3":{"s3SchemaVersion":"1.0",
        "configurationId":"logs","bucket":{"name":"logs","ownerIdentity":{"principalId":"A"},"arn":"arn:aws:s3:::logs"},
        "object":{"key":"a+b/E%2B1.2026-11-30-08.%C3%BC.gz","size":1024,"eTag":"d41d8cd98f00b204e9800998ecf8427e",
        "sequencer":"0055AED6DCD90281E5"}}}"#;

    fn created(body: &str) -> Vec<NewObject> {
        match Notification::parse(body) {
            Ok(Notification::Created(objects)) => objects,
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn all_forms_name_the_same_object() {
        let records = format!(r#"{{"Records":[{RECORD},{RECORD}]}}"#);
        let objects = created(&records);
        assert_eq!(objects.len(), 2);
        let NewObject { bucket, key, size, etag, sequencer, json } = &objects[0];
        assert_eq!((bucket.as_str(), key.as_str()), ("logs", "a b/E+1.2026-11-30-08.ü.gz"));
        assert_eq!((*size, etag.as_deref()), (Some(1_024), Some("\"d41d8cd98f00b204e9800998ecf8427e\"")));
        assert_eq!((sequencer.as_deref(), json.as_str()), (Some("0055AED6DCD90281E5"), RECORD));

        let sns =
            serde_json::json!({ "Type": "Notification", "TopicArn": "arn:aws:sns:eu-west-1:1:t", "Message": records });
        assert_eq!(created(&sns.to_string()), objects);

        let detail = r#"{"version":"0","bucket":{"name":"logs"},"object":{"key":"a b/E+1%20.gz","size":7,
            "etag":"d41d8cd98f00b204e9800998ecf8427e","sequencer":"00"},"reason":"PutObject"}"#;
        let event =
            |kind: &str| format!(r#"{{"version":"0","detail-type":"{kind}","source":"aws.s3","detail":{detail}}}"#);
        let [object] = &created(&event("Object Created"))[..] else { panic!("one") };
        assert_eq!((object.key.as_str(), object.size), ("a b/E+1%20.gz", Some(7)));
        assert_eq!(created(&event("Object Deleted")), []);
    }

    #[test]
    fn what_is_not_about_a_new_object_is_left_out() {
        for kind in ["ObjectRemoved:Delete", "ObjectRestore:Completed", "LifecycleTransition", "ObjectTagging:Put"] {
            let body = format!(r#"{{"Records":[{}]}}"#, RECORD.replace("ObjectCreated:Put", kind));
            assert_eq!(created(&body), [], "{kind}");
        }
        let test =
            r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2026-11-30T08:00:00.000Z","Bucket":"logs"}"#;
        assert_eq!(Notification::parse(test).unwrap(), Notification::Test);
        let through_sns = serde_json::json!({ "Type": "Notification", "Message": test }).to_string();
        assert_eq!(Notification::parse(&through_sns).unwrap(), Notification::Test);
        // By hand, to have an object read again.
        let by_hand =
            r#"{"Records":[{"eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"logs"},"object":{"key":"a"}}}]}"#;
        let [object] = &created(by_hand)[..] else { panic!("one") };
        assert_eq!((object.size, &object.etag, &object.sequencer), (None, &None, &None));
    }

    #[test]
    fn what_is_no_notification_is_said() {
        for (body, says) in [
            ("", "not a notification of S3: EOF"),
            ("hello", "not a notification of S3: expected value"),
            ("[]", "not a notification of S3:"),
            ("{}", "it has neither `Records` nor `detail`"),
            (r#"{"Records":[{}]}"#, "missing field `eventName`"),
            (r#"{"Records":3}"#, "invalid type"),
            (r#"{"Type":"Notification","Message":"hello"}"#, "not a notification of S3"),
            (&format!(r#"{{"Records":[{}]}}"#, RECORD.replace("%C3", "%FF")), "is not UTF-8 once it is decoded"),
        ] {
            let error = Notification::parse(body).expect_err(body).to_string();
            assert!(error.contains(says), "{body}: {error}");
        }
    }
}
