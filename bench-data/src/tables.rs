//! The vocabulary that lines are made of: visitors' networks, user agents, pages, trackers.
//!
//! Everything is written out once, in the encoding of the log, when the generator is made. All of
//! it is made up: hosts end in `.example`, addresses are of ranges reserved for documentation and
//! benchmarks, AS numbers too.

use crate::query::Template;
use crate::random::{Draw, Skewed};
use crate::text::{component, logged};

/// The request that a browser family sends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Chromium,
    Firefox,
    Safari,
    /// Image proxies of mail services, link checkers, scripts: few headers.
    Machine,
}

/// A user agent and the headers that follow from it.
pub(crate) struct Agent {
    /// As the viewer sent it.
    pub(crate) text: String,
    /// As real-time logs write it.
    pub(crate) once: Vec<u8>,
    /// As legacy standard logs write it.
    pub(crate) twice: Vec<u8>,
    pub(crate) family: Family,
    pub(crate) accept: &'static [u8],
    pub(crate) accept_encoding: &'static [u8],
    /// `name:value%0A` from `user-agent` to `accept-encoding`, then `name%0A`; lower case for
    /// HTTP/2 and 3.
    pub(crate) lower_headers: Vec<u8>,
    pub(crate) lower_names: Vec<u8>,
    /// The same for HTTP/1.1.
    pub(crate) title_headers: Vec<u8>,
    pub(crate) title_names: Vec<u8>,
    pub(crate) header_count: u64,
    pub(crate) is_mobile: bool,
}

/// Where a visitor comes from.
pub(crate) struct Network {
    pub(crate) country: &'static str,
    pub(crate) language: &'static str,
    /// The `accept-language` header, as logged.
    pub(crate) accept_language: Vec<u8>,
    pub(crate) time_zone: &'static str,
    /// The time zone as a value of a query, so encoded twice.
    pub(crate) time_zone_value: Vec<u8>,
    pub(crate) edges: Vec<Vec<u8>>,
    pub(crate) asn: u64,
    /// The first two bytes of its IPv4 addresses.
    pub(crate) prefix: [u8; 2],
}

/// A page that carries the pixel.
pub(crate) struct Page {
    /// As `cs-referer` writes it.
    pub(crate) url: Vec<u8>,
    /// `https://host/`, all that most browsers send to another site.
    pub(crate) origin: Vec<u8>,
    /// The URL as a value of a query, encoded twice.
    pub(crate) value: Vec<u8>,
    /// The title as a value of a query.
    pub(crate) title: Vec<u8>,
}

/// A distribution that answers for the pixel.
pub(crate) struct Tracker {
    pub(crate) host: &'static [u8],
    pub(crate) distribution: Vec<u8>,
}

/// What is asked for below a host.
pub(crate) struct Endpoint {
    pub(crate) path: &'static [u8],
    pub(crate) has_query: bool,
    pub(crate) content_type: &'static [u8],
    pub(crate) content_length: u64,
    pub(crate) pattern: &'static [u8],
}

pub(crate) struct Tables {
    pub(crate) agents: Skewed<Agent>,
    pub(crate) networks: Skewed<Network>,
    pub(crate) pages: Skewed<Page>,
    pub(crate) trackers: Skewed<Tracker>,
    pub(crate) endpoints: Skewed<Endpoint>,
    pub(crate) templates: Skewed<Template>,
    pub(crate) referrers: Skewed<Vec<u8>>,
    pub(crate) campaigns: Skewed<Vec<u8>>,
    pub(crate) search_terms: Skewed<Vec<u8>>,
}

/// Sizes of screens, the usual ones first.
pub(crate) const SCREENS: [&[u8]; 12] = [
    b"1920x1080",
    b"390x844",
    b"360x800",
    b"1536x864",
    b"393x873",
    b"1440x900",
    b"414x896",
    b"2560x1440",
    b"412x915",
    b"1366x768",
    b"820x1180",
    b"3840x2160",
];

/// Text for columns that the engine does not know, and for what a CloudFront function logs.
pub(crate) const TEXTS: [&[u8]; 8] = [
    b"variant=b;bucket=17",
    b"variant=a;bucket=4",
    b"ok",
    b"bot-score:12",
    b"redirected",
    b"variant=a;bucket=91",
    b"%7B%22tier%22:%22gold%22%7D",
    b"consent%20missing",
];

/// Where visitors of a page come from; empty for those who typed its address.
pub(crate) const REFERRERS: [&str; 10] = [
    "",
    "https://search.example/",
    "https://www.social.example/",
    "android-app://com.example.mail/",
    "https://news-tag.example/",
    "https://l.social.example/l.php?u=https%3A%2F%2Fshop-nord.example",
    "https://t.example/x9",
    "https://duck.example/?q=zelt",
    "https://video.example/watch?v=a8Kd0",
    "https://forum.radfahrer.example/t/1842/7",
];

impl Tables {
    pub(crate) fn new() -> Tables {
        Tables {
            agents: Skewed::new(agents(), 0.5),
            networks: Skewed::new(networks(), 0.0),
            pages: Skewed::new(pages(), 0.0),
            trackers: Skewed::weighted(trackers(), &[50.0, 20.0, 12.0, 9.0, 6.0, 3.0]),
            endpoints: Skewed::weighted(endpoints(), &[90.0, 4.0, 3.0, 1.0, 0.6, 0.4]),
            templates: Template::all(),
            referrers: Skewed::new(referrers(), 0.0),
            campaigns: Skewed::new(campaigns(), 0.0),
            search_terms: Skewed::new(search_terms(), 1.5),
        }
    }
}

fn twice(raw: &str) -> Vec<u8> {
    logged(&component(raw.as_bytes()))
}

fn trackers() -> Vec<Tracker> {
    let hosts: [&[u8]; 6] = [
        b"px.shop-nord.example",
        b"t.mailkette.example",
        b"pixel.example.com",
        b"i.news-tag.example",
        b"metrics.reise-amt.example",
        b"d1.example.net",
    ];
    let mut draw = Draw::new(0, 1);
    hosts
        .into_iter()
        .map(|host| {
            let name: String =
                (0..13).map(|_| char::from(draw.pick(b"abcdefghijklmnopqrstuvwxyz0123456789"))).collect();
            Tracker { host, distribution: format!("d{name}.cloudfront.net").into_bytes() }
        })
        .collect()
}

fn endpoints() -> Vec<Endpoint> {
    let endpoint = |path, has_query, content_type, content_length, pattern| Endpoint {
        path,
        has_query,
        content_type,
        content_length,
        pattern,
    };
    vec![
        endpoint(b"/1x1.png", true, b"image/png", 68, b"1x1.png"),
        endpoint(b"/i.gif", true, b"image/gif", 43, b"*.gif"),
        endpoint(b"/collect", true, b"image/gif", 43, b"*"),
        endpoint(b"/1x1.png", false, b"image/png", 68, b"1x1.png"),
        endpoint(b"/favicon.ico", false, b"image/x-icon", 1150, b"*"),
        endpoint(b"/robots.txt", false, b"text/plain", 26, b"*"),
    ]
}

fn networks() -> Vec<Network> {
    // Country, language, time zone, airports of the edge locations.
    let rows = [
        ("US", "en-US", "America/New_York", "IAD JFK BOS"),
        ("US", "en-US", "America/Los_Angeles", "LAX SFO SEA"),
        ("DE", "de-DE", "Europe/Berlin", "FRA MUC HAM"),
        ("US", "en-US", "America/Chicago", "ORD DFW MSP"),
        ("GB", "en-GB", "Europe/London", "LHR MAN"),
        ("FR", "fr-FR", "Europe/Paris", "CDG MRS"),
        ("IN", "en-IN", "Asia/Kolkata", "BOM DEL MAA"),
        ("BR", "pt-BR", "America/Sao_Paulo", "GRU GIG"),
        ("JP", "ja-JP", "Asia/Tokyo", "NRT KIX"),
        ("US", "es-US", "America/Denver", "DEN PHX"),
        ("CA", "en-CA", "America/Toronto", "YTO YUL"),
        ("ES", "es-ES", "Europe/Madrid", "MAD BCN"),
        ("IT", "it-IT", "Europe/Rome", "MXP FCO"),
        ("AU", "en-AU", "Australia/Sydney", "SYD MEL"),
        ("NL", "nl-NL", "Europe/Amsterdam", "AMS"),
        ("AT", "de-AT", "Europe/Vienna", "VIE"),
        ("PL", "pl-PL", "Europe/Warsaw", "WAW"),
        ("CH", "de-CH", "Europe/Zurich", "ZRH"),
        ("SE", "sv-SE", "Europe/Stockholm", "ARN"),
        ("MX", "es-MX", "America/Mexico_City", "QRO"),
        ("KR", "ko-KR", "Asia/Seoul", "ICN"),
        ("SG", "en-SG", "Asia/Singapore", "SIN"),
        ("AE", "ar-AE", "Asia/Dubai", "DXB"),
        ("ZA", "en-ZA", "Africa/Johannesburg", "JNB CPT"),
    ];
    let mut draw = Draw::new(0, 2);
    let mut networks = Vec::new();
    for (rank, (country, language, time_zone, airports)) in rows.into_iter().enumerate() {
        let edges = airports.split(' ').flat_map(|airport| {
            let number = draw.between(50, 80);
            let suffix = draw.pick(&["-P", "-C"]);
            (1..=3).map(move |pop| format!("{airport}{number}{suffix}{pop}").into_bytes())
        });
        let edges = edges.collect();
        let primary = language.split('-').next().unwrap_or(language);
        let accept_language = logged(format!("{language},{primary};q=0.9").as_bytes());
        let asn = if rank < 16 { 64_496 + rank } else { 65_536 + rank - 16 } as u64;
        let prefix = if rank % 3 == 0 { [198, 18 + (rank / 3 % 2) as u8] } else { [100, 64 + 2 * rank as u8] };
        let time_zone_value = twice(time_zone);
        networks.push(Network { country, language, accept_language, time_zone, time_zone_value, edges, asn, prefix });
    }
    networks
}

fn pages() -> Vec<Page> {
    let sites = [
        "www.shop-nord.example",
        "news-tag.example",
        "blog.reise-amt.example",
        "www.example.com",
        "garten24.example",
        "forum.radfahrer.example",
        "shop.laufwelt.example",
        "www.kochstube.example",
        "tech.example.org",
        "m.spielplatz.example",
        "www.stadtwerke.example",
        "jobs.example.net",
    ];
    let sections = ["", "", "products", "blog", "news", "help", "outdoor", "2026/01"];
    let subjects = [
        ("trail-shoes-42", "Trail shoes, size 42"),
        ("winter-sale", "Winter sale | up to 40 %"),
        ("zelt-leicht", "Leichte Zelte für zwei"),
        ("city-guide", "A city guide"),
        ("faq", "Questions & answers"),
        ("rezept-kuerbis", "Kürbissuppe – das Rezept"),
        ("team", "The team"),
        ("checkout", "Checkout"),
        ("guide-japan", "東京 in three days"),
        ("review-lamp-9", "Review: Lamp \"9\""),
    ];
    let mut draw = Draw::new(0, 3);
    let mut pages = Vec::new();
    for subject in 0..subjects.len() * 4 {
        for site in sites {
            let (path, title) = subjects[subject % subjects.len()];
            let section = draw.pick(&sections);
            let mut url = match draw.below(10) {
                0..=2 => format!("https://{site}/"),
                _ if section.is_empty() => format!("https://{site}/{path}"),
                _ => format!("https://{site}/{section}/{path}"),
            };
            if draw.per_mille(50) {
                url.push_str(draw.pick(&["?utm_source=mail&utm_medium=email", "?page=2", "?q=schuhe+gr%C3%B6%C3%9Fe"]));
            }
            let origin = format!("https://{site}/").into_bytes();
            pages.push(Page { url: logged(url.as_bytes()), origin, value: twice(&url), title: twice(title) });
        }
    }
    pages
}

fn referrers() -> Vec<Vec<u8>> {
    REFERRERS.into_iter().map(twice).collect()
}

fn campaigns() -> Vec<Vec<u8>> {
    let seasons = ["winter_sale", "newsletter", "retargeting", "brand", "launch", "spring", "lookalike"];
    let years = ["26w01", "26w02", "2026", "25q4"];
    years.iter().flat_map(|year| seasons.iter().map(move |season| twice(&format!("{season}_{year}")))).collect()
}

fn search_terms() -> Vec<Vec<u8>> {
    let terms = [
        "trail shoes",
        "zelt 2 personen",
        "größe 42",
        "café crème",
        "stirnlampe",
        "東京 guide",
        "rain jacket & trousers",
        "fahrrad zürich",
        "where is my order?",
        "50% off",
        "путеводитель",
        "c++ buch",
        "🚀",
    ];
    let plus = |term: &str| logged(String::from_utf8_lossy(&component(term.as_bytes())).replace("%20", "+").as_bytes());
    terms.into_iter().map(plus).collect()
}

/// The agents that hits come from, the usual ones first.
pub(crate) fn agents() -> Vec<Agent> {
    let mut raw: Vec<(String, Family)> = Vec::new();
    let webkit = "AppleWebKit/537.36 (KHTML, like Gecko)";
    let phones = ["Pixel 8", "SM-S918B", "SM-A546B", "K", "moto g84 5G", "2201117TY"];
    for (rank, chrome) in [143, 142, 141, 138].into_iter().enumerate() {
        let windows = "Mozilla/5.0 (Windows NT 10.0; Win64; x64)";
        raw.push((format!("{windows} {webkit} Chrome/{chrome}.0.0.0 Safari/537.36"), Family::Chromium));
        let phone = phones[rank];
        let android = format!("Mozilla/5.0 (Linux; Android {}; {phone})", 15 - rank / 2);
        raw.push((format!("{android} {webkit} Chrome/{chrome}.0.0.0 Mobile Safari/537.36"), Family::Chromium));
        let ios = ["18_6", "18_5", "17_7", "16_7_2"][rank];
        let safari = ios.replace('_', ".");
        raw.push((
            format!(
                "Mozilla/5.0 (iPhone; CPU iPhone OS {ios} like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                 Version/{safari} Mobile/15E148 Safari/604.1"
            ),
            Family::Safari,
        ));
        let mac = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)";
        raw.push((format!("{mac} {webkit} Chrome/{chrome}.0.0.0 Safari/537.36"), Family::Chromium));
        raw.push((
            format!("{mac} AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{safari} Safari/605.1.15"),
            Family::Safari,
        ));
        raw.push((
            format!("{windows} {webkit} Chrome/{chrome}.0.0.0 Safari/537.36 Edg/{chrome}.0.0.0"),
            Family::Chromium,
        ));
        let firefox = chrome + 3;
        raw.push((
            format!("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:{firefox}.0) Gecko/20100101 Firefox/{firefox}.0"),
            Family::Firefox,
        ));
        raw.push((
            format!("Mozilla/5.0 (X11; Linux x86_64; rv:{firefox}.0) Gecko/20100101 Firefox/{firefox}.0"),
            Family::Firefox,
        ));
    }
    for (rank, phone) in phones.into_iter().enumerate() {
        let android = format!("Mozilla/5.0 (Linux; Android 14; {phone} Build/UP1A.23{rank}005.007; wv)");
        raw.push((
            format!("{android} {webkit} Version/4.0 Chrome/142.0.7444.{} Mobile Safari/537.36", 90 + 17 * rank),
            Family::Chromium,
        ));
        raw.push((
            format!(
                "Mozilla/5.0 (Linux; Android 13; {phone}) {webkit} ExampleBrowser/2{rank}.0 Chrome/130.0.0.0 \
                 Mobile Safari/537.36"
            ),
            Family::Chromium,
        ));
    }
    // Mail is opened by proxies: one of them is among the usual ones.
    let proxy = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via mail.example ImageProxy)";
    raw.insert(3, (proxy.to_owned(), Family::Machine));
    raw.insert(7, ("Mozilla/5.0".to_owned(), Family::Machine));
    for machine in [
        "MailProxy: Mozilla/5.0 (compatible; images)",
        "Mozilla/5.0 (compatible; examplebot/2.1; +https://bot.example/about)",
        "linkcheck/3~rc1",
        "curl/8.11.1",
        "python-requests/2.32.3",
        "okhttp/4.12.0",
        "\"Quoted Agent\" [de] {1}",
        "Prüfer/1.0 'x'",
    ] {
        raw.push((machine.to_owned(), Family::Machine));
    }
    raw.into_iter().map(|(text, family)| agent(&text, family)).collect()
}

/// The agent of that text, with the headers that its family sends.
pub(crate) fn agent(text: &str, family: Family) -> Agent {
    let once = logged(text.as_bytes());
    let accept: &[u8] = match family {
        Family::Chromium => b"image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",
        Family::Firefox => b"image/avif,image/webp,*/*",
        Family::Safari => b"image/webp,image/*;q=0.8",
        Family::Machine => b"*/*",
    };
    let accept_encoding: &[u8] = match family {
        Family::Chromium | Family::Firefox => b"gzip,%20deflate,%20br,%20zstd",
        Family::Safari => b"gzip,%20deflate,%20br",
        Family::Machine => b"gzip",
    };
    let is_mobile = text.contains("Mobile");
    let mut headers: Vec<(&str, Vec<u8>)> = vec![("User-Agent", once.clone())];
    if family == Family::Chromium {
        let version = text.split("Chrome/").nth(1).and_then(|rest| rest.split('.').next()).unwrap_or("99");
        let brands = format!("\"Chromium\";v=\"{version}\", \"Not_A Brand\";v=\"99\"");
        let platform = match text {
            _ if text.contains("Android") => "\"Android\"",
            _ if text.contains("Macintosh") => "\"macOS\"",
            _ => "\"Windows\"",
        };
        headers.push(("Sec-CH-UA", logged(brands.as_bytes())));
        headers.push(("Sec-CH-UA-Mobile", if is_mobile { b"?1".to_vec() } else { b"?0".to_vec() }));
        headers.push(("Sec-CH-UA-Platform", logged(platform.as_bytes())));
    }
    headers.push(("Accept", accept.to_vec()));
    headers.push(("Accept-Encoding", accept_encoding.to_vec()));
    if family != Family::Machine {
        headers.push(("Sec-Fetch-Site", b"cross-site".to_vec()));
        headers.push(("Sec-Fetch-Mode", b"no-cors".to_vec()));
        headers.push(("Sec-Fetch-Dest", b"image".to_vec()));
    }
    let written = |spell: fn(&str) -> String| {
        let mut with_values = Vec::new();
        let mut names = Vec::new();
        for (name, value) in &headers {
            names.extend_from_slice(spell(name).as_bytes());
            names.extend_from_slice(b"%0A");
            with_values.extend_from_slice(spell(name).as_bytes());
            with_values.push(b':');
            with_values.extend_from_slice(value);
            with_values.extend_from_slice(b"%0A");
        }
        (with_values, names)
    };
    let (lower_headers, lower_names) = written(str::to_ascii_lowercase);
    let (title_headers, title_names) = written(str::to_owned);
    Agent {
        text: text.to_owned(),
        twice: logged(&once),
        once,
        family,
        accept,
        accept_encoding,
        lower_headers,
        lower_names,
        title_headers,
        title_names,
        header_count: headers.len() as u64,
        is_mobile,
    }
}
