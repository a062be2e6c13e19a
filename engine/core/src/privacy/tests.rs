use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::config::{QueryEncodingKind, Secret, Settings};
use crate::source::Format;

const KEY: &str = "0123456789abcdef0123456789abcdef";
const NAMES: &str = "timestamp c-ip cs-uri-stem cs-user-agent cs-uri-query x-forwarded-for +extra";

/// Everything that can become of a value.
fn settings() -> Settings {
    Settings {
        fields: vec![NAMES.replace(' ', ",")],
        mask_ip: Some(true),
        hash: Some("query.u,query.é,cs-user-agent".to_owned()),
        hash_key: Some(Secret::new(KEY)),
        drop: Some("query.d,+extra".to_owned()),
        replace: vec!["query.r=x y&%".to_owned()],
        ..Settings::default()
    }
}

fn treated_by(settings: &Settings, text: &[u8]) -> String {
    let mut out = Vec::new();
    Privacy::of(&settings.validate().unwrap()).expect("something is treated").treat(
        settings.format.unwrap_or_default(),
        text,
        &mut out,
    );
    String::from_utf8(out).unwrap()
}

#[track_caller]
fn becomes(settings: &Settings, text: &str, wanted: &str) {
    assert_eq!(treated_by(settings, text.as_bytes()), wanted);
}

fn hash(value: &[u8]) -> String {
    let hash = blake3::keyed_hash(KEY.as_bytes().try_into().unwrap(), value);
    hash.to_hex()[..32].to_owned()
}

fn of_fields(fields: &str) -> Settings {
    Settings { fields: vec![fields.replace(' ', ",")], hash_key: Some(Secret::new(KEY)), ..Settings::default() }
}

#[test]
fn a_query_stands_in_two_places() {
    let fields = "timestamp cs-uri-stem cs-uri-query";
    let u = hash(b"1");
    for (hash, drop, replace, stem, query) in [
        ("query.u", "", "", format!("/p?e=2&u={u}"), format!("e=2&u={u}")),
        ("", "query.u", "", "/p?e=2".to_owned(), "e=2".to_owned()),
        ("", "query.u query.e", "", "/p".to_owned(), "-".to_owned()),
        ("", "", "query.e=", "/p?e=&u=1".to_owned(), "e=&u=1".to_owned()),
        ("", "cs-uri-query", "", "/p".to_owned(), "-".to_owned()),
        ("", "", "cs-uri-query=q", "/p?q".to_owned(), "q".to_owned()),
        ("", "uri-path", "", "?e=2&u=1".to_owned(), "e=2&u=1".to_owned()),
        ("query.u", "cs-uri-stem", "", "-".to_owned(), format!("e=2&u={u}")),
        ("", "", "uri-path=/x y", "/x%20y?e=2&u=1".to_owned(), "e=2&u=1".to_owned()),
    ] {
        let given = |list: &str| Some(list.to_owned()).filter(|list| !list.is_empty());
        let replace = given(replace).into_iter().collect();
        let settings = Settings { hash: given(hash), drop: given(drop), replace, ..of_fields(fields) };
        becomes(&settings, "1\t/p?e=2&u=1\te=2&u=1\n", &format!("1\t{stem}\t{query}\n"));
    }
}

#[test]
fn every_spelling_of_a_name_and_of_a_value_is_the_same() {
    let u = hash(b"a b");
    for (encoding, queries) in [
        (QueryEncodingKind::Twice, &["u=a%2520b", "%75=a+b", "%2575=a%20b", "%25%37%35=%2561%2520b"][..]),
        (QueryEncodingKind::Once, &["u=a%20b", "%75=a+b", "%2575=%61%20b"]),
    ] {
        for query in queries {
            let settings = Settings {
                hash: Some("query.u".to_owned()),
                query_encoding: Some(encoding),
                ..of_fields("timestamp cs-uri-query")
            };
            let name = query.split('=').next().unwrap();
            becomes(&settings, &format!("1\tx&{query}&&u\n"), &format!("1\tx&{name}={u}&&u\n"));
        }
    }
}

#[test]
fn an_address_has_one_hash_however_it_is_written() {
    let settings = Settings { hash: Some("c-ip".to_owned()), mask_ip: Some(true), ..of_fields("timestamp c-ip") };
    for (written, address) in
        [("2001:0DB8:0000::0001", "2001:db8::1"), ("::ffff:203.0.113.9", "203.0.113.9"), ("no%20address", "no address")]
    {
        becomes(&settings, &format!("1\t{written}\n"), &format!("1\t{}\n", hash(address.as_bytes())));
    }
}

#[test]
fn names_of_both_kinds_of_log_are_the_columns_they_stand_for() {
    let settings = Settings { drop: Some("viewer-host".to_owned()), ..of_fields("timestamp cs-host x-host-header") };
    becomes(&settings, "1\ta\tb\r\n", "1\t-\tb\n");
    let log = "#Version: secret\n#Fields: date cs(Host) x-host-header\n\n2026-01-02\ta\tb\n2026-01-02\ta\n";
    let wanted = "#\n#Fields: date cs(Host) x-host-header\n\n2026-01-02\ta\t-\nunreadable line\0\n";
    becomes(&settings, log, wanted);
}

#[test]
fn nothing_of_an_unreadable_line_is_left() {
    let settings = settings();
    for text in ["secret", "secret\tsecret", "1\t\0secret\t-\t-\t-\t-\t-", "secret\t-\t-\t-\t-\t-\t-"] {
        becomes(&settings, &format!("1\t-\t-\t-\t-\t-\t-\n{text}\n\n"), "1\t-\t-\t-\t-\t-\t-\nunreadable line\0\n\n");
    }
    for text in [r#"{"secret":1}"#, r#"{"c-ip":{"secret":1}}"#, r#"{"c-ip":"1","c-ip":"secret"}"#, r#"{"secret""#] {
        becomes(&settings, &format!("{{\"c-ip\":\"1.2.3.4\"}}\n{text}\n"), "{\"c-ip\":\"1.2.3.0\"}\n{}\n");
    }
    let long = format!("1\t-\t-\t-\t-\t-\t-\n{}\n1\t-\t-\t-\t-\t-\t-", "secret ".repeat(500_000));
    becomes(&settings, &long, "1\t-\t-\t-\t-\t-\t-\nunreadable line\0\n1\t-\t-\t-\t-\t-\t-\n");
}

#[test]
fn no_value_is_taken_for_a_part_of_a_header() {
    for torn in ["2026-01-02\t203.0.113.9", "203.0.113.9", "ann@example.org", "u=ann"] {
        let log = format!("#Fields: date c-ip {torn}\n#Fields: date c-ip x-new\n2026-01-02\t203.0.113.9\t1\n");
        becomes(&settings(), &log, "#\n#Fields: date c-ip x-new\n2026-01-02\t203.0.113.0\t1\n");
    }
    for text in ["[\n#secret\n{\n#Fields: date c-ip\nsecret", "[\n#Fields: date c-ip\nsecret\n"] {
        let stored = treated_by(&settings(), text.as_bytes());
        assert!(!stored.contains("secret"), "{stored}");
    }
}

#[test]
fn objects_keep_what_is_not_treated() {
    let settings = Settings { drop: Some("cs-cookie,+x".to_owned()), ..settings() };
    becomes(
        &settings,
        "{ \"sc-bytes\" : 1.50e3, \"c-ip\":\"203.0.113.9\",\"cs(Cookie)\":null,\"a\\u0062\":\"\\u00e9\\t\",\"x\":7}\n",
        "{\"sc-bytes\":1.50e3,\"c-ip\":\"203.0.113.0\",\"cs(Cookie)\":null,\"ab\":\"\\u00e9\\t\",\"x\":\"-\"}\n",
    );
}

/// A value as it may stand in a query: each character as it is or escaped, by the viewer and then
/// by CloudFront.
fn spelled(plain: &str, choices: &[u8], twice: bool) -> String {
    let mut choices = choices.iter().cycle();
    let mut out = String::new();
    for byte in plain.bytes() {
        let choice = *choices.next().unwrap();
        // A percent sign that is escaped once reads as the beginning of an escape of the viewer's.
        let percent = if twice && (choice & 1 == 0 || byte == b'%') { "%25" } else { "%" };
        match byte {
            b'a'..=b'z' if choice & 6 != 0 => out.push(byte.into()),
            b' ' if choice & 2 == 0 => out.push('+'),
            _ if choice & 8 == 0 => out.push_str(&format!("{percent}{byte:02x}")),
            _ => out.push_str(&format!("{percent}{byte:02X}")),
        }
    }
    out
}

/// Name and value in clear, how they are spelled, and whether there is a value.
type Pair = (String, String, Vec<u8>, bool);

fn any_pair() -> impl Strategy<Value = Pair> {
    let name = prop::sample::select(vec!["u", "d", "r", "é", "e", "uu", "U", ""]).prop_map(str::to_owned);
    (name, "[a-c é&=%+\t]{0,6}", prop::collection::vec(any::<u8>(), 1..5), any::<bool>())
}

/// The query as it is logged, and what must become of it.
fn query_of(pairs: &[Pair], twice: bool) -> (String, String) {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for (name, value, choices, has_value) in pairs {
        let (name_text, value_text) = (spelled(name, choices, twice), spelled(value, choices, twice));
        let pair = if *has_value { format!("{name_text}={value_text}") } else { name_text.clone() };
        before.push(pair.clone());
        let other = match name.as_str() {
            "u" | "é" => hash(value.as_bytes()),
            "r" if twice => "x%2520y%2526%2525".to_owned(),
            "r" => "x%20y%26%25".to_owned(),
            "d" => continue,
            _ => value_text.clone(),
        };
        after.push(if *has_value && !value.is_empty() { format!("{name_text}={other}") } else { pair });
    }
    (before.join("&"), after.join("&"))
}

proptest! {
    #[test]
    fn lines_become_what_a_plain_rule_says(
        pairs in prop::collection::vec(any_pair(), 1..6),
        twice in any::<bool>(),
        octets in any::<[u8; 4]>(),
        agent in "[a-z]{1,5}",
        is_absent in any::<[bool; 3]>(),
    ) {
        let (query, treated_query) = query_of(&pairs, twice);
        prop_assume!(!query.is_empty() && query != "-");
        let [a, b, c, d] = octets;
        let or_absent = |index: usize, text: String| if is_absent[index] { "-".to_owned() } else { text };
        let columns = |query: String, stem: String, d: u8, agent: String, extra: &str| [
            "1.5".to_owned(),
            or_absent(0, format!("{a}.{b}.{c}.{d}")),
            stem,
            or_absent(1, agent),
            query,
            or_absent(2, format!("{a}.{b}.{c}.{d},2001:db8:1::{}", if d == 0 { "" } else { "7" })),
            extra.to_owned(),
        ];
        let stem = |query: &str| if query.is_empty() { "/p".to_owned() } else { format!("/p?{query}") };
        let or_hyphen = |query: &str| if query.is_empty() { "-".to_owned() } else { query.to_owned() };
        let before = columns(query.clone(), stem(&query), d.max(1), agent.clone(), "x");
        let after = columns(or_hyphen(&treated_query), stem(&treated_query), 0, hash(agent.as_bytes()), "-");
        let encoding = if twice { QueryEncodingKind::Twice } else { QueryEncodingKind::Once };
        let settings = Settings { query_encoding: Some(encoding), ..settings() };
        let (line, wanted) = (before.join("\t") + "\n", after.join("\t") + "\n");
        let treated = treated_by(&settings, line.as_bytes());
        prop_assert_eq!(&treated, &wanted);

        let names: Vec<&str> = NAMES.split(' ').map(|name| name.trim_start_matches('+')).collect();
        let object = |values: &[String]| {
            let pairs = names.iter().zip(values).map(|(name, value)| (name.to_string(), Value::from(value.as_str())));
            Value::Object(pairs.collect())
        };
        let treated = treated_by(&settings, object(&before).to_string().as_bytes());
        prop_assert_eq!(serde_json::from_str::<Value>(&treated).unwrap(), object(&after));
    }

    #[test]
    fn there_are_as_many_lines_as_before_and_none_becomes_good(
        lines in prop::collection::vec(
            prop::sample::select(vec![
                "1\t203.0.113.9\t-\t-\tu=1\t-\t-", "", "\r", "secret", "#secret", "{", "{}", "\u{feff}1\t-\t-\t-\t-\t-\t-",
                "{\"c-ip\":\"203.0.113.9\"}", "secret\0", "[", "#Fields: date c-ip", "2026-01-02\t203.0.113.9",
            ]),
            0..12,
        ),
    ) {
        let text = lines.join("\n");
        // Of what begins with a bracket and goes on with a header, a run finds out something else.
        let format = Format::of(text.as_bytes()).filter(|format| *format == Format::Json);
        let settings = Settings { format, ..settings() };
        let stored = treated_by(&settings, text.as_bytes());
        prop_assert!(!stored.contains("secret") && !stored.contains("113.9"), "{stored}");
        let [before, after] = [text, stored].map(|text| counted(&settings, text));
        prop_assert_eq!(before, after);
    }
}

/// Good and bad lines of a text.
fn counted(settings: &Settings, text: String) -> (u64, u64) {
    use crate::quarantine::Quarantine;
    use crate::run::Run;
    use crate::sink::null::Null;
    use crate::source::{Closed, Feed, Source};

    struct Text(String);

    impl Source for Text {
        fn read(self: Box<Self>, feed: Feed<'_>) -> Result<(), Closed> {
            let mut inlet = feed.treated().open("text");
            inlet.push(self.0)?;
            inlet.end().map(drop)
        }
    }

    let config = settings.validate().unwrap();
    let (mut sink, mut quarantine) = (Null::new(config.api()), Quarantine::new("/dev/null"));
    let summary = Run::new(&config).source(Text(text)).to(&mut sink, &mut quarantine).summary;
    (summary.lines_shipped, summary.lines_quarantined)
}
