//! The properties file that the MultiLangDaemon is started with.

use std::fmt::Write;

/// What the file is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    /// The child's command, a word each. The daemon splits it at spaces and knows no quotes.
    pub command: Vec<String>,
    /// Name or ARN of the stream.
    pub stream: String,
    /// Name of the application, and of its lease table in DynamoDB.
    pub application: String,
    /// Region of the stream and the table; `None` leaves it to the ARN.
    pub region: Option<String>,
    /// Enhanced fan-out, which AWS bills, in place of polling.
    pub fan_out: bool,
    /// What goes to CloudWatch: `NONE`, `SUMMARY` or `DETAILED`.
    pub metrics: &'static str,
}

/// Why no file can say that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PropertiesError {
    /// The daemon would make several arguments of it, or none.
    #[error("`{0}` in the command of the child: the daemon splits the command at spaces, without quotes")]
    Word(String),
    /// A line break ends a property.
    #[error("`{value}`: a line break in {name}")]
    Line {
        /// The property.
        name: &'static str,
        /// Its value.
        value: String,
    },
}

impl Properties {
    /// The text of the file: ASCII, whatever is in it. Defaults of the KCL that fit stay away from
    /// it; each line says why it is there.
    ///
    /// # Errors
    /// A word of the command is empty or has a space in it, or there is a line break in a value.
    pub fn text(&self) -> Result<String, PropertiesError> {
        if let Some(word) = self.command.iter().find(|word| word.is_empty() || word.contains(char::is_whitespace)) {
            return Err(PropertiesError::Word(word.clone()));
        }
        let mut text = String::new();
        let mut say = |name: &'static str, value: &str, why: &str| {
            if value.contains(['\n', '\r']) {
                return Err(PropertiesError::Line { name, value: value.to_owned() });
            }
            for line in why.lines() {
                let _ = writeln!(text, "# {}", line.trim_start());
            }
            let _ = writeln!(text, "{name} = {}\n", escaped(value));
            Ok(())
        };
        say(
            "executableName",
            &self.command.join(" "),
            "Started once for each shard. Split at spaces, without quotes and without a shell.",
        )?;
        let stream = if self.stream.starts_with("arn:") { "streamArn" } else { "streamName" };
        say(stream, &self.stream, "What is read.")?;
        say(
            "applicationName",
            &self.application,
            "Also the name of the lease table in DynamoDB, which the daemon makes. Workers of one\n\
             application share the shards; another application reads all of them again.",
        )?;
        if let Some(region) = &self.region {
            say("regionName", region, "Of the stream and the table.")?;
        }
        say(
            "AwsCredentialsProvider",
            "DefaultCredentialsProvider",
            "The standard chain: variables, profile, role. The daemon does not start without a word on this.",
        )?;
        say(
            "initialPositionInStream",
            "TRIM_HORIZON",
            "Where a shard begins that has no checkpoint. LATEST would miss what is sent before the\n\
             first worker is up.",
        )?;
        let (mode, why) = if self.fan_out {
            ("FANOUT", "2 MB/s of each shard for this application alone. AWS bills it by consumer, shard and GB.")
        } else {
            ("POLLING", "GetRecords, which costs nothing more. By default the KCL registers a consumer that AWS bills.")
        };
        say("retrievalMode", mode, why)?;
        if !self.fan_out {
            say(
                "idleTimeBetweenReadsInMillis",
                "1000",
                "A shard takes five reads a second from all applications together.",
            )?;
        }
        say(
            "callProcessRecordsEvenForEmptyRecordList",
            "true",
            "So that deliveries get their checkpoint when nothing new comes.",
        )?;
        say(
            "shutdownGraceMillis",
            "30000",
            "On SIGTERM, children deliver what they have and make a checkpoint. Without this the daemon\n\
             does not wait for them, and the next worker sends it again. Give the service more time to stop.",
        )?;
        say("metricsLevel", self.metrics, "NONE, SUMMARY or DETAILED. CloudWatch bills each metric of each shard.")?;
        Ok(text)
    }
}

/// A value that `java.util.Properties` reads as it was.
fn escaped(value: &str) -> String {
    let mut out = String::new();
    for unit in value.encode_utf16() {
        match u8::try_from(unit) {
            Ok(b'\\') => out.push_str("\\\\"),
            Ok(byte) if byte.is_ascii_graphic() || byte == b' ' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties() -> Properties {
        Properties {
            command: ["/usr/bin/pixel-engine", "kcl", "--to", "firehose://beacons"].map(str::to_owned).to_vec(),
            stream: "beacons".to_owned(),
            application: "pixel-engine".to_owned(),
            region: Some("eu-west-1".to_owned()),
            fan_out: false,
            metrics: "NONE",
        }
    }

    fn set(text: &str) -> Vec<(&str, &str)> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(|line| line.split_once(" = ").expect("a property")).collect()
    }

    #[test]
    fn it_says_what_the_defaults_of_the_kcl_leave_to_chance() {
        let text = properties().text().expect("it can be said");
        assert_eq!(
            set(&text),
            [
                ("executableName", "/usr/bin/pixel-engine kcl --to firehose://beacons"),
                ("streamName", "beacons"),
                ("applicationName", "pixel-engine"),
                ("regionName", "eu-west-1"),
                ("AwsCredentialsProvider", "DefaultCredentialsProvider"),
                ("initialPositionInStream", "TRIM_HORIZON"),
                ("retrievalMode", "POLLING"),
                ("idleTimeBetweenReadsInMillis", "1000"),
                ("callProcessRecordsEvenForEmptyRecordList", "true"),
                ("shutdownGraceMillis", "30000"),
                ("metricsLevel", "NONE"),
            ]
        );
    }

    #[test]
    fn fan_out_and_an_arn_have_their_own_lines() {
        let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/beacons".to_owned();
        let properties =
            Properties { stream: arn.clone(), fan_out: true, region: None, metrics: "SUMMARY", ..properties() };
        let text = properties.text().expect("it can be said");
        let set = set(&text);
        for line in [("streamArn", &*arn), ("retrievalMode", "FANOUT"), ("metricsLevel", "SUMMARY")] {
            assert!(set.contains(&line), "{text}");
        }
        // Any property of polling would turn fan-out off.
        assert!(!text.contains("idleTimeBetweenReads") && !text.contains("regionName"), "{text}");
    }

    #[test]
    fn what_the_daemon_would_read_otherwise_is_refused_or_escaped() {
        for word in ["a b", "", "a\tb"] {
            let properties = Properties { command: vec!["pixel-engine".to_owned(), word.to_owned()], ..properties() };
            assert_eq!(properties.text(), Err(PropertiesError::Word(word.to_owned())));
        }
        let properties = Properties { application: "a\nb".to_owned(), ..properties() };
        assert!(properties.text().is_err());
        assert_eq!(escaped(r"C:\é#=:!"), r"C:\\\u00e9#=:!");
    }
}
