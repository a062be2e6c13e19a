//! `deploy/web/`: the script for pages in a real browser, against the pixel of `run`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;

use serde_json::Value;

use crate::browser::Browser;
use crate::network::Sidecar;
use crate::peers::is_installed;
use crate::support::{Workspace, run, wait_until};

/// What the files name, and a test replaces.
const HOST: &str = "https://d111111abcdef8.cloudfront.net";

pub(crate) fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("deploy").join("web").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The first page: `cart` twice, which is two events.
pub(crate) const FIRST: &str = r#"pixel("cart", { sku: "T-shirt, M & L", price: "19.90" });
pixel("cart", { sku: "T-shirt, M & L", price: "19.90" });
await answered(3);"#;
const CONSENT: &str = r#"pixel.consent(true); pixel("consent"); await answered(2);"#;
const AGAIN: &str = r#"await answered(1); pixel.consent(false); pixel("withdrawn"); await answered(2);"#;

/// A page with the snippet, which does that and goes on to the next one.
pub(crate) fn page(snippet: &str, act: &str, next: &str) -> String {
    format!(
        r#"<!doctype html><meta charset="utf-8"><head>{snippet}</head><script>
const answered = async (count) => {{
    while (performance.getEntriesByType("resource").filter(({{ name }}) => name.includes("/pixel.gif")).length < count)
        await new Promise((done) => setTimeout(done, 10));
}};
addEventListener("load", async () => {{ {act} location.href = "{next}"; }});
</script>"#
    )
}

/// Serves what is found for the path and query of a request; the port.
pub(crate) fn serve(find: impl Fn(&str) -> Option<(&'static str, String)> + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let find = find.clone();
            thread::spawn(move || answer(stream, find));
        }
    });
    port
}

fn answer(mut stream: TcpStream, find: impl Fn(&str) -> Option<(&'static str, String)>) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines().map_while(Result::ok);
    let request = lines.next()?;
    lines.find(String::is_empty)?;
    let (status, (kind, body)) = match find(request.split(' ').nth(1)?) {
        Some(found) => ("200 OK", found),
        None => ("404 Not Found", ("text/plain", String::new())),
    };
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}; charset=utf-8\r\nconnection: close");
    write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).ok()
}

/// The snippet, with the pixel of the test in it.
pub(crate) fn snippet(pixel: &str, script: &str) -> String {
    let snippet = read("snippet.html").replace(&format!("{HOST}/pixel.js"), script);
    snippet.replace(&format!("{HOST}/pixel.gif"), pixel).replace(&format!("{HOST}/beacon"), pixel)
}

/// The lines that arrived, decoded: each with `query`.
fn decoded(test: &Sidecar) -> Vec<Value> {
    Workspace::as_json(&test.arrived().concat())
}

fn sidecar() -> (Sidecar, String) {
    let test = Sidecar::with("pixel_fields = \"realtime-46\"", "");
    let pixel = format!("http://127.0.0.1:{}/pixel.gif", test.port);
    (test, pixel)
}

#[test]
fn the_script_is_small_and_pages_have_the_snippet() {
    let script = read("pixel.js");
    assert!(script.len() <= 1_024, "{} bytes", script.len());
    let (snippet, example) = (read("snippet.html"), read("example.html"));
    let (_, code) = snippet.split_once("-->\n").expect("a comment first");
    assert!(example.contains(code), "example.html has another snippet");
}

#[test]
fn pages_send_what_they_say_and_an_id_only_with_consent() {
    if !is_installed("the script for pages", &["chromium"], "chromium") {
        return;
    }
    let (test, pixel) = sidecar();
    let child = test.start();
    let (with_script, blocked) = (snippet(&pixel, "/pixel.js"), snippet(&pixel, "/blocked.js"));
    let first = "/gr%C3%BC%C3%9Fe%20%F0%9F%91%8B?utm_source=news%20letter&utm_campaign=a%26b%3D100%25&secret=1";
    let site = serve(move |target| {
        let page = |act: &str, next: &str| Some(("text/html", page(&with_script, act, next)));
        match target {
            "/pixel.js" => Some(("text/javascript", read("pixel.js"))),
            "/consent" => page(CONSENT, "/again?mail=me@site.example"),
            "/again?mail=me@site.example" => page(AGAIN, "/last"),
            "/last" => page("await answered(1);", "/%broken"),
            "/%broken" => page("await answered(1);", "/blocked?secret=1"),
            "/blocked?secret=1" => Some(("text/html", blocked.clone())),
            target if target == first => page(FIRST, "/consent"),
            _ => None,
        }
    });
    let url = format!("http://127.0.0.1:{site}");
    let browser = Browser::open(&format!("{url}{first}"), &test.workspace.path("profile"));
    let is_last = |line: &Value| line["query"]["js"] == "blocked";
    wait_until("the last page", || decoded(&test).iter().any(is_last));
    wait_until("every page was hidden", || decoded(&test).iter().filter(|it| it["query"]["e"] == "hide").count() == 5);
    drop(browser);
    test.stop(child).ok();
    let hits = decoded(&test);
    let of = |event: &str, path: &str| -> Vec<&Value> {
        let is_it = |line: &&Value| line["query"]["e"] == event && line["query"]["url"] == format!("{url}{path}");
        hits.iter().filter(is_it).collect()
    };
    let mut count = 0;
    for (event, path, times, method) in [
        ("view", "/grüße 👋", 1, "GET"),
        ("cart", "/grüße 👋", 2, "GET"),
        ("hide", "/grüße 👋", 1, "POST"),
        ("view", "/consent", 1, "GET"),
        ("consent", "/consent", 1, "GET"),
        ("hide", "/consent", 1, "POST"),
        ("view", "/again", 1, "GET"),
        ("withdrawn", "/again", 1, "GET"),
        ("hide", "/again", 1, "POST"),
        ("view", "/last", 1, "GET"),
        ("hide", "/last", 1, "POST"),
        ("view", "/%broken", 1, "GET"),
        ("hide", "/%broken", 1, "POST"),
        ("view", "/blocked", 1, "GET"),
    ] {
        let found = of(event, path);
        assert_eq!(found.len(), times, "{event} of {path} in {hits:#?}");
        assert!(found.iter().all(|hit| hit["cs_method"] == method), "{found:?}");
        count += times;
    }
    assert_eq!(hits.len(), count, "{hits:#?}");
    let cart = &of("cart", "/grüße 👋")[0]["query"];
    assert_eq!((&cart["sku"], &cart["price"]), (&"T-shirt, M & L".into(), &"19.90".into()));
    for hit in hits.iter().filter(|hit| hit["query"]["url"] == format!("{url}/grüße 👋")) {
        let query = &hit["query"];
        assert_eq!((&query["utm_source"], &query["utm_campaign"]), (&"news letter".into(), &"a&b=100%".into()));
    }
    // What else is in the query of a page is sent by none.
    assert!(hits.iter().all(|hit| !hit["cs_uri_query"].as_str().expect("a query").contains("secret")));
    assert!(hits.iter().all(|hit| !hit["cs_uri_query"].as_str().expect("a query").contains("mail")));
    assert_eq!(of("view", "/again")[0]["query"]["ref"], format!("{url}/consent"));
    assert_eq!(of("view", "/last")[0]["query"]["ref"], format!("{url}/again"));
    // An id from the consent to its withdrawal, the same on both pages.
    let with_id: Vec<&Value> = hits.iter().filter(|hit| hit["query"].get("uid").is_some()).collect();
    let id = with_id[0]["query"]["uid"].as_str().expect("an id");
    assert!(id.len() > 20 && with_id.iter().all(|hit| hit["query"]["uid"] == id), "{with_id:#?}");
    let expected = [("consent", "/consent"), ("hide", "/consent"), ("view", "/again")];
    let expected: Vec<&Value> = expected.iter().map(|(event, path)| of(event, path)[0]).collect();
    assert_eq!(with_id.len(), expected.len(), "{with_id:#?}");
    assert!(expected.iter().all(|hit| with_id.contains(hit)), "{with_id:#?}");
    let expected =
        [("cart", 2), ("consent", 1), ("hide", 5), ("view", 6), ("withdrawn", 1), ("news letter / - / a&b=100%", 4)];
    assert_eq!(reported(&test), expected.map(|(name, count)| (name.to_owned(), count)).into());
}

/// What a report makes of these lines, without any settings.
fn reported(test: &Sidecar) -> BTreeMap<String, u64> {
    let mut command = test.workspace.command(&["report", "-", "--json"]);
    let report = run(&mut command, &test.arrived().concat()).ok();
    let report: Value = serde_json::from_slice(&report.stdout).expect("JSON");
    let tables = report["tables"].as_array().expect("tables").iter();
    let tables = tables.filter(|table| ["events", "campaigns"].iter().any(|name| table["name"] == *name));
    let rows = tables.flat_map(|table| table["rows"].as_array().expect("rows"));
    rows.map(|row| (row["name"].as_str().expect("a name").to_owned(), row["beacons"].as_u64().expect("a number")))
        .collect()
}

#[test]
fn without_scripts_an_image_is_sent() {
    if !is_installed("the image for pages without scripts", &["chromium"], "chromium") {
        return;
    }
    let (test, pixel) = sidecar();
    let child = test.start();
    let snippet = snippet(&pixel, "/pixel.js");
    let site = serve(move |target| (target == "/page").then(|| ("text/html", format!("<!doctype html>{snippet}"))));
    let url = format!("http://127.0.0.1:{site}");
    let flags = ["--blink-settings=scriptEnabled=false"];
    let browser = Browser::open_with(&flags, &format!("{url}/page"), &test.workspace.path("profile"));
    wait_until("the image", || !test.arrived().is_empty());
    drop(browser);
    test.stop(child).ok();
    let hits = decoded(&test);
    let [hit] = &hits[..] else { panic!("{hits:#?}") };
    assert_eq!(hit["query"], serde_json::json!({ "e": "view", "js": "off" }));
    // Of the page, a browser says the host alone.
    assert_eq!(hit["cs_referer"], format!("{url}/"));
}
