//! The pages of the demonstration, with the snippet that belongs into every page, and the address at
//! which the stand-in for Kinesis is reached.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::kinesis::{self, Stream, TARGET};

/// What pages load, and what stands in them, as in any other page.
const SCRIPT: &str = include_str!("../../../deploy/web/pixel.js");
const SNIPPET: &str = include_str!("../../../deploy/web/snippet.html");
/// What the snippet has in place of the pixel's address.
const HOST: &str = "https://d111111abcdef8.cloudfront.net";

const STYLE: &str = include_str!("site.css");
/// Shows how far the beacons have come.
const COUNTS: &str = include_str!("site.js");

/// A request of PutRecords has 10 MiB of data, in base64.
const MAX_BODY: usize = 16 << 20;

type Reply = Response<Full<Bytes>>;

/// Where the parts are that pages lead to.
pub(super) struct Links {
    pub(super) pixel: String,
    pub(super) admin: String,
}

/// Answers what browsers ask for, until the runtime ends. `counts` says how far the beacons have
/// come.
pub(super) async fn serve_pages(
    listener: TcpListener,
    own: String,
    links: Links,
    counts: impl Fn() -> Value + Send + Sync + 'static,
) {
    let snippet = SNIPPET.split_once("-->\n").map_or(SNIPPET, |(_, snippet)| snippet);
    let snippet = snippet.replace(&format!("{HOST}/pixel.js"), &format!("{own}/pixel.js"));
    let snippet = ["/pixel.gif", "/beacon"]
        .iter()
        .fold(snippet, |snippet, path| snippet.replace(&format!("{HOST}{path}"), &links.pixel));
    let site = Arc::new((snippet, links, counts));
    serve(listener, move |request| {
        let site = Arc::clone(&site);
        async move {
            let (snippet, links, counts) = &*site;
            match request.uri().path() {
                "/pixel.js" => reply(StatusCode::OK, "text/javascript; charset=utf-8", SCRIPT),
                "/counts.json" => reply(StatusCode::OK, "application/json", counts().to_string()),
                path => match Place::ALL.iter().find(|place| place.path == path) {
                    Some(place) => {
                        let page = page(place, snippet, links).into_string();
                        reply(StatusCode::OK, "text/html; charset=utf-8", page)
                    }
                    None => reply(StatusCode::NOT_FOUND, "text/plain", "there is no such page\n"),
                },
            }
        }
    })
    .await;
}

/// Answers what producers and consumers of the streams ask for, until the runtime ends.
pub(super) async fn serve_streams(listener: TcpListener, streams: Vec<Arc<Stream>>) {
    serve(listener, move |request| {
        let streams = streams.clone();
        async move {
            let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
            let operation = target.and_then(|target| target.strip_prefix(TARGET)).unwrap_or_default().to_owned();
            let refuse = |(kind, message): kinesis::Refusal| {
                let body = json!({ "__type": kind, "message": message }).to_string();
                reply(StatusCode::BAD_REQUEST, "application/x-amz-json-1.1", body)
            };
            let Ok(body) = Limited::new(request.into_body(), MAX_BODY).collect().await else {
                return refuse(("InvalidArgumentException", "the body is too long, or did not arrive".to_owned()));
            };
            let streams: Vec<&Stream> = streams.iter().map(Arc::as_ref).collect();
            match kinesis::answer(&streams, &operation, &body.to_bytes()) {
                Ok(answer) => reply(StatusCode::OK, "application/x-amz-json-1.1", answer.to_string()),
                Err(refusal) => refuse(refusal),
            }
        }
    })
    .await;
}

async fn serve<F: Future<Output = Reply> + Send + 'static>(
    listener: TcpListener,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let answer = answer.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(request);
                async { Ok::<_, Infallible>(answer.await) }
            });
            // Who goes away in the middle has no one to be told.
            let _ =
                http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn reply(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// A page of the shop.
struct Place {
    path: &'static str,
    name: &'static str,
    about: &'static str,
    /// What there is to buy: a name, and a price.
    product: Option<(&'static str, &'static str)>,
}

impl Place {
    const ALL: [Place; 4] = [
        Place { path: "/", name: "Home", about: "A small shop in which nothing is for sale.", product: None },
        Place {
            path: "/products/t-shirt",
            name: "T-shirt",
            about: "Cotton, M and L.",
            product: Some(("t-shirt", "19.90")),
        },
        Place {
            path: "/products/trail-shoes",
            name: "Trail shoes",
            about: "For paths that are none.",
            product: Some(("trail-shoes", "129.00")),
        },
        Place { path: "/about", name: "About", about: "There is nothing to know about this shop.", product: None },
    ];
}

fn page(place: &Place, snippet: &str, links: &Links) -> Markup {
    let events = |product: &str, price: &str| {
        [
            ("Into the cart", format!("pixel('cart', {{ product: '{product}' }})")),
            ("Check out", format!("pixel('checkout', {{ product: '{product}' }})")),
            ("Pay", format!("pixel('paid', {{ product: '{product}', value: '{price}', currency: 'EUR' }})")),
        ]
    };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                link rel="icon" href="data:,";
                title { (place.name) " – a page with a pixel" }
                style { (PreEscaped(pixel_engine_html::STYLE)) (PreEscaped(STYLE)) }
                (PreEscaped(snippet))
            }
            body {
                main {
                    p.note { "pixel-engine demo: a page with the snippet of deploy/web in it" }
                    h1 { (place.name) }
                    p { (place.about) }
                    nav aria-label="Pages" {
                        @for other in &Place::ALL {
                            a href=(other.path) aria-current=[(other.path == place.path).then_some("page")] {
                                (other.name)
                            }
                        }
                    }
                    p { "The view of this page has been sent by now. Each of these sends something else." }
                    @if let Some((product, price)) = place.product {
                        p.buttons {
                            @for (name, event) in events(product, price) {
                                button onclick=(event) { (name) }
                            }
                            span.note { (price) " EUR" }
                        }
                    } @else {
                        p.buttons {
                            button onclick="pixel('search', { q: 'Grüße & 100 %' })" { "Search" }
                            button onclick="pixel('sign-up')" { "Sign up" }
                        }
                    }
                    p.buttons {
                        button onclick="pixel.consent(true); pixel('consent')" { "Recognise me" }
                        button onclick="pixel.consent(false); pixel('withdrawn')" { "Forget me" }
                    }
                    p {
                        "Come from "
                        a href="?utm_source=newsletter&utm_medium=email&utm_campaign=autumn" { "a newsletter" }
                        ", "
                        a href="?utm_source=search&utm_medium=cpc&utm_campaign=shoes" { "an advertisement" }
                        " or "
                        a href=(place.path) { "nowhere" }
                        ". Leaving the page, or hiding its tab, is sent too."
                    }
                    h2 { "Where the beacons are" }
                    ol.way #way {
                        @for (key, name, on_aws) in [
                            ("beacons", "pixel", "CloudFront"),
                            ("lines", "stream A", "Kinesis Data Streams: one line a record"),
                            ("packed", "stream B", "Lambda, and a second stream: aggregates"),
                            ("rows", "data lake", "the Kinesis Client Library, and S3: Parquet"),
                        ] {
                            li {
                                span.name { (name) }
                                span.figure data-count=(key) { "–" }
                                span.note data-more=(key) {}
                                span.note { "on AWS: " (on_aws) }
                            }
                        }
                    }
                    p.note #billed {}
                    p {
                        a href={ (links.admin) "/report" } { "What the beacons say" }
                        ", and "
                        a href={ (links.admin) "/" } { "how the pixel is doing" }
                        "."
                    }
                }
                script { (PreEscaped(COUNTS)) }
            }
        }
    }
}
