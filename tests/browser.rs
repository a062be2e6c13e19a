//! A real browser as the client of the pixel: images, beacons and `fetch`, from another origin.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::network::Sidecar;
use crate::peers::is_installed;
use crate::support::wait_until;

/// What a site would have. It is visited at `/` and at `/again`: within one page, a browser asks for
/// the same image once, whatever its headers say. The last hit is that of the page being left.
const PAGE: &str = r#"<!doctype html>
<meta charset="utf-8">
<img src="PIXEL?e=image&amp;v=Gr%C3%BC%C3%9Fe%20%26%20100%25">
<img src="PIXEL?e=not-encoded&amp;v=Grüße aus Köln">
<script>
const hit = (query) => `PIXEL?${query}`;
const value = encodeURIComponent("two words, Grüße, 100%, a&b=c?d#e+f/g");
const image = (query) => new Promise((loaded, failed) => {
    const image = new Image();
    image.onload = loaded;
    image.onerror = () => failed(new Error(query));
    image.src = hit(query);
});
const json = { "content-type": "application/json" };
addEventListener("load", async () => {
    let said;
    try {
        await image("e=same-image");
        for (let time = 0; time < 3; time++) {
            await fetch(hit("e=same-fetch"));
            navigator.sendBeacon(hit("e=same-beacon"), "a body");
        }
        navigator.sendBeacon(hit(`e=beacon&v=${value}`), new URLSearchParams({ a: "b" }));
        navigator.sendBeacon(hit("e=json-beacon"), new Blob(["{}"], { type: json["content-type"] }));
        const cors = await fetch(hit(`e=cors&v=${value}`), { mode: "cors" });
        const len = (await cors.arrayBuffer()).byteLength;
        const post = await fetch(hit("e=json-post"), { method: "POST", mode: "cors", headers: json, body: "{}" });
        const opaque = await fetch(hit(`e=no-cors&v=${value}`), { mode: "no-cors" });
        said = [cors.type, cors.status, len, post.status, opaque.type].join("-");
    } catch (error) {
        said = encodeURIComponent(error);
    }
    await image(`e=done&said=${said}`);
    addEventListener("pagehide", () => navigator.sendBeacon(hit(`e=left&from=${location.pathname}`)));
    location.href = location.pathname == "/" ? "/again" : "/next";
});
</script>
"#;

/// How often each method and query came, with the query as the browser sends it.
type Hits = BTreeMap<(String, String), usize>;

/// Ends with the test: chromium, and every process that it started.
pub(crate) struct Browser(Child);

impl Browser {
    pub(crate) fn open(url: &str, profile: &std::path::Path) -> Browser {
        Browser::open_with(&[], url, profile)
    }

    /// With more flags.
    pub(crate) fn open_with(flags: &[&str], url: &str, profile: &std::path::Path) -> Browser {
        let mut browser = Command::new("chromium");
        browser.args(flags);
        browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        // Without it, headless chromium would write down what it is asked for, and end.
        browser.arg("--remote-debugging-port=0").arg(format!("--user-data-dir={}", profile.display())).arg(url);
        browser.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Browser(browser.spawn().expect("it starts"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.0.wait();
    }
}

/// Serves the page at `/` and `/again`, and an empty one everywhere else; the port.
fn serve(page: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let page = page.clone();
            // A browser connects ahead of what it has to ask.
            thread::spawn(move || answer(stream, &page));
        }
    });
    port
}

fn answer(mut stream: TcpStream, page: &str) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines().map_while(Result::ok);
    let request = lines.next()?;
    let is_page = request.starts_with("GET / ") || request.starts_with("GET /again ");
    lines.find(String::is_empty)?;
    let body = if is_page { page } else { "" };
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\nconnection: close";
    write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).ok()
}

#[test]
fn every_hit_of_a_browser_arrives_once() {
    if !is_installed("a browser as the client of the pixel", &["chromium"], "chromium") {
        return;
    }
    let test = Sidecar::with("pixel_fields = \"realtime-46\"", "");
    let child = test.start();
    let site = serve(PAGE.replace("PIXEL", &format!("http://127.0.0.1:{}/pixel.gif", test.port)));
    let value = "two%20words%2C%20Gr%C3%BC%C3%9Fe%2C%20100%25%2C%20a%26b%3Dc%3Fd%23e%2Bf%2Fg";
    let expected: Hits = [
        ("GET", "e=image&v=Gr%C3%BC%C3%9Fe%20%26%20100%25".to_owned(), 2),
        ("GET", "e=not-encoded&v=Gr%C3%BC%C3%9Fe%20aus%20K%C3%B6ln".to_owned(), 2),
        ("GET", "e=same-image".to_owned(), 2),
        ("GET", "e=same-fetch".to_owned(), 6),
        ("POST", "e=same-beacon".to_owned(), 6),
        ("POST", format!("e=beacon&v={value}"), 2),
        ("POST", "e=json-beacon".to_owned(), 2),
        ("GET", format!("e=cors&v={value}"), 2),
        ("POST", "e=json-post".to_owned(), 2),
        ("GET", format!("e=no-cors&v={value}"), 2),
        ("GET", "e=done&said=cors-200-43-204-opaque".to_owned(), 2),
        ("POST", "e=left&from=/".to_owned(), 1),
        ("POST", "e=left&from=/again".to_owned(), 1),
    ]
    .into_iter()
    .map(|(method, query, times)| ((method.to_owned(), query), times))
    .collect();
    let browser = Browser::open(&format!("http://127.0.0.1:{site}/"), &test.workspace.path("profile"));
    wait_until("every hit arrived", || test.arrived().len() >= expected.values().sum());
    drop(browser);
    test.stop(child).ok();
    let mut hits = Hits::new();
    for line in test.arrived() {
        let line = String::from_utf8(line).expect("CloudFront's lines are ASCII");
        let columns: Vec<&str> = line.trim_end().split('\t').collect();
        let query = columns[9].strip_prefix("/pixel.gif?").expect("every hit has one");
        // CloudFront writes a `%` as `%25`.
        *hits.entry((columns[6].to_owned(), query.replace("%25", "%"))).or_default() += 1;
        let referer = columns.iter().any(|column| column.starts_with(&format!("http://127.0.0.1:{site}")));
        assert!(referer, "the page is no hit's referer: {line}");
    }
    assert_eq!(hits, expected);
}
