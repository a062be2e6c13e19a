use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use base64_simd::STANDARD as BASE64;
use fake_aws::{Builder, FakeAws};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

pub(crate) const PUT_RECORD_BATCH: &str = "Firehose_20150804.PutRecordBatch";
pub(crate) const PUT_RECORDS: &str = "Kinesis_20131202.PutRecords";

/// A server that does not compare signatures: those of [`Client`] are of the right form, and wrong.
pub(crate) fn lenient() -> Builder {
    FakeAws::builder().verify_signatures(false)
}

/// A connection, and what its requests are signed with.
pub(crate) struct Client {
    reader: BufReader<TcpStream>,
    pub(crate) access_key: String,
    pub(crate) token: Option<String>,
    pub(crate) region: String,
    pub(crate) service: Option<&'static str>,
    /// Seconds that the client's clock is ahead.
    pub(crate) clock: i64,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn new(aws: &FakeAws) -> Client {
        let stream = TcpStream::connect(aws.address()).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        Client {
            reader: BufReader::new(stream),
            access_key: aws.credentials().access_key.clone(),
            token: None,
            region: aws.region().to_owned(),
            service: None,
            clock: 0,
        }
    }

    pub(crate) fn timeout(&mut self, timeout: Duration) {
        self.reader.get_mut().set_read_timeout(Some(timeout)).expect("a timeout");
    }

    pub(crate) fn authorization(&self, service: &str) -> String {
        let time = Timestamp::now() + SignedDuration::from_secs(self.clock);
        let (key, region, day) = (&self.access_key, &self.region, time.strftime("%Y%m%d"));
        let service = self.service.unwrap_or(service);
        let token = self.token.as_ref().map_or(String::new(), |token| format!("X-Amz-Security-Token: {token}\r\n"));
        format!(
            "X-Amz-Date: {}\r\n{token}Authorization: AWS4-HMAC-SHA256 Credential={key}/{day}/{region}/{service}/\
             aws4_request, SignedHeaders=host;x-amz-date;x-amz-target, Signature={:064}\r\n",
            time.strftime("%Y%m%dT%H%M%SZ"),
            0
        )
    }

    /// The head of a request without its end: more headers may follow.
    pub(crate) fn head(&self, target: &str) -> String {
        let service = if target.starts_with("Firehose") { "firehose" } else { "kinesis" };
        format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-1.1\r\n\
             X-Amz-Target: {target}\r\n{}",
            self.authorization(service)
        )
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.reader.get_mut().write_all(bytes.as_ref()).expect("the server reads");
    }

    pub(crate) fn send(&mut self, target: &str, body: &Value) {
        let body = body.to_string();
        self.write(format!("{}Content-Length: {}\r\n\r\n{body}", self.head(target), body.len()));
    }

    pub(crate) fn send_form(&mut self, form: &str) {
        self.write(format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n{}\
             Content-Length: {}\r\n\r\n{form}",
            self.authorization("sts"),
            form.len()
        ));
    }

    pub(crate) fn receive(&mut self) -> io::Result<Answer> {
        let mut headers = String::new();
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line == "\r\n" {
                break;
            }
            headers.push_str(&line.to_ascii_lowercase());
        }
        let status = headers[9..12].parse().expect("a status");
        let len = headers.lines().find_map(|line| line.strip_prefix("content-length: "));
        let len = len.map_or(0, |len| len.parse().expect("a number"));
        let mut body = vec![0; len];
        self.reader.read_exact(&mut body)?;
        Ok(Answer { status, headers, body })
    }

    pub(crate) fn call(&mut self, target: &str, body: &Value) -> Answer {
        self.send(target, body);
        self.receive().expect("a reply")
    }

    pub(crate) fn call_form(&mut self, form: &str) -> Answer {
        self.send_form(form);
        self.receive().expect("a reply")
    }

    /// Sends records to the delivery stream `beacons`.
    pub(crate) fn put(&mut self, records: &[&[u8]]) -> Answer {
        self.call(PUT_RECORD_BATCH, &batch("beacons", records))
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).expect("text")
    }

    /// Status, code and message of an error.
    pub(crate) fn error(&self) -> (u16, String, String) {
        let json = self.json();
        let message = [&json["message"], &json["Message"]].into_iter().find_map(Value::as_str).expect("a message");
        let code = json["__type"].as_str().expect("a code");
        assert!(self.headers.contains(&format!("x-amzn-errortype: {}\r\n", code.to_ascii_lowercase())));
        (self.status, code.to_owned(), message.to_owned())
    }

    #[track_caller]
    pub(crate) fn assert_error(&self, status: u16, code: &str, message: &str) {
        assert_eq!(self.error(), (status, code.to_owned(), message.to_owned()));
    }
}

pub(crate) fn batch(stream: &str, records: &[&[u8]]) -> Value {
    let records: Vec<_> = records.iter().map(|data| json!({ "Data": BASE64.encode_to_string(data) })).collect();
    json!({ "DeliveryStreamName": stream, "Records": records })
}

pub(crate) fn entry(data: &[u8], partition_key: &str) -> Value {
    json!({ "Data": BASE64.encode_to_string(data), "PartitionKey": partition_key })
}
