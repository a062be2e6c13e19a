use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::peers::{self, Paper};
use crate::support::*;

const FUNNEL: &str = "view > cart > checkout > paid";

/// A folder with `visits.log`: what 2,000 visitors do in three days.
fn visits() -> Workspace {
    let workspace = Workspace::new();
    let arguments = ["generate", "--visitors", "2000", "--days", "3", "--unreadable", "20"];
    let log = run(&mut workspace.command(&arguments), b"").ok().stdout;
    workspace.write("visits.log", &log);
    workspace
}

/// All that a report can have beside the usual, of a folder of [`all_uses`].
const USES: [&str; 8] = ["--use", "ad-tech", "--use", "blog", "--use", "shop", "--reconcile", "standard.log"];

/// The same folder with `standard.log`, the standard log of the same visits, of which `visits.log`
/// misses every fiftieth line.
fn all_uses() -> Workspace {
    let workspace = visits();
    let log = fs::read(workspace.path("visits.log")).expect("it was written");
    let kept = lines(&log).enumerate().filter(|(place, _)| place % 50 != 7).map(|(_, line)| line);
    workspace.write("visits.log", &kept.collect::<Vec<&[u8]>>().concat());
    let arguments = ["generate", "--visitors", "2000", "--days", "3", "--unreadable", "20", "--schema", "standard"];
    let standard = run(&mut workspace.command(&arguments), b"").ok().stdout;
    workspace.write("standard.log", &standard);
    workspace
}

fn report(workspace: &Workspace, arguments: &[&str]) -> Run {
    run(&mut workspace.command(&[&["report"], arguments].concat()), b"")
}

/// The page and the JSON of one report.
fn page_and_json(workspace: &Workspace, arguments: &[&str]) -> (String, Value) {
    let run = report(workspace, &[arguments, &["--html", "report.html", "--json"]].concat()).ok();
    let page = fs::read_to_string(workspace.path("report.html")).expect("a page");
    (page, serde_json::from_slice(&run.stdout).expect("JSON"))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// With thousands separators.
fn grouped(number: &Value) -> String {
    let digits = number.as_u64().expect("a count").to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).expect("digits"));
    groups.collect::<Vec<&str>>().join(",")
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("{key} of {value}"))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} of {value}"))
}

/// What the page has between the heading and the end of its section.
#[track_caller]
fn section<'a>(page: &'a str, title: &str) -> &'a str {
    let begin = page.find(&format!("<h3>{title}</h3>")).unwrap_or_else(|| panic!("no {title}"));
    let len = page[begin..].find("</section>").expect("it ends");
    &page[begin..begin + len]
}

#[test]
fn a_page_has_every_row_of_every_table() {
    let workspace = visits();
    let (page, json) = page_and_json(&workspace, &["visits.log", "--funnel", FUNNEL, "--top", "15"]);
    for table in list(&json, "tables") {
        let section = section(&page, text(table, "title"));
        let rows = list(table, "rows");
        assert!(!rows.is_empty(), "{table}");
        for row in rows {
            let name = format!("<span class=\"measured\">{}<span", escaped(text(row, "name")));
            let found = section.split("<tr>").find(|html| html.contains(&name));
            let found = found.unwrap_or_else(|| panic!("no {name} in {section}"));
            let percent = format!("<td>{:.1}</td>", row["percent"].as_f64().expect("a number"));
            assert!(found.contains(&format!("<td>{}</td>", grouped(&row["beacons"]))), "{row}: {found}");
            assert!(found.contains(&percent), "{row}: {found}");
        }
        assert_eq!(section.matches("class=\"measured\"").count(), rows.len(), "{section}");
        for (key, name) in [("others", "other"), ("without", "none")] {
            let shown = section.split("<tr>").find(|html| html.contains("<em>") && html.contains(name));
            assert_eq!(shown.is_some(), table[key] != 0, "{key}: {section}");
            assert!(shown.is_none_or(|html| html.contains(&format!("<td>{}</td>", grouped(&table[key])))), "{section}");
        }
    }
    for (title, key) in [("Entries", "entries"), ("Exits", "exits")] {
        let section = section(&page, title);
        for row in list(&json["sessions"], key) {
            let cells = format!("<td>{}</td>", grouped(&row["count"]));
            assert!(section.contains(&escaped(text(row, "page"))) && section.contains(&cells), "{row}: {section}");
        }
    }
    for step in list(&json["funnel"], "steps") {
        let cells =
            format!("<th scope=\"row\" class=\"name\">{}</th><td>{}", text(step, "step"), grouped(&step["visitors"]));
        assert!(page.contains(&cells), "{cells}");
        assert!(list(step, "left_on").iter().all(|page_left| page.contains(&escaped(text(page_left, "page")))));
    }
    for rule in list(&json["abnormal"], "rules") {
        let name = text(rule, "name").replace('_', " ");
        assert!(
            page.contains(&format!("<th scope=\"row\" class=\"text\">{name}</th><td>{}", grouped(&rule["count"]))),
            "{rule}"
        );
        for event in list(rule, "examples") {
            assert!(page.contains(&escaped(text(event, "query"))), "{event}");
        }
    }
    for event in list(&json, "recent") {
        assert!(
            page.contains(&escaped(text(event, "agent"))) && page.contains(&escaped(text(event, "query"))),
            "{event}"
        );
    }
    for hour in list(&json["by_hour"], "rows") {
        let people = json!(hour["beacons"].as_u64().unwrap() - hour["bots"].as_u64().unwrap());
        let time = text(hour, "begin");
        let (date, time, zone) = (&time[..10], &time[11..16], &time[19..]);
        let cells =
            format!("{date} {time} {zone}</th><td>{}</td><td>{}</td>", grouped(&people), grouped(&hour["bots"]));
        let visitors = format!("{date} {time} {zone}</th><td>{}</td></tr>", grouped(&hour["visitors"]));
        assert!(page.contains(&cells) && page.contains(&visitors), "{hour}");
    }
    for day in list(&json["by_day"], "rows") {
        let cells = ["beacons", "bots", "visitors"].map(|key| format!("<td>{}</td>", grouped(&day[key]))).concat();
        assert!(page.contains(&cells), "{day}");
    }
    for (reason, bad) in json["lines"]["bad_by_reason"].as_object().expect("reasons") {
        let cells = format!("{reason}</th><td>{}</td>", grouped(&bad["count"]));
        assert!(page.contains(&cells) && page.contains(&escaped(text(bad, "first"))), "{reason}");
    }
    // What could not be read stands before every number.
    let at = |part: &str| page.find(part).unwrap_or_else(|| panic!("no {part}"));
    assert!(at("could not be read</h2>") < at("class=\"cards\""));
    for (part, key) in [("beacons", "beacons"), ("visitors", "people"), ("sessions", "sessions")] {
        let figure = format!("<dd class=\"figure\">{}</dd>", grouped(&json[part][key]));
        assert!(page.contains(&figure), "{figure}");
    }
    for definition in [&json["visitors"], &json["sessions"], &json["funnel"], &json["by_hour"], &json["by_day"]] {
        // The first letter may be a capital.
        assert!(page.contains(&escaped(&text(definition, "definition")[1..])), "{definition}");
    }
}

/// What the page has between the second heading of this title and the next.
#[track_caller]
fn part<'a>(page: &'a str, title: &str) -> &'a str {
    let begin = page.find(&format!(">{title}</h2>")).unwrap_or_else(|| panic!("no {title}"));
    let rest = &page[begin..];
    &rest[..rest.find("<h2 id").unwrap_or(rest.len())]
}

/// Whether one row of a table has all of these cells next to each other.
#[track_caller]
fn has_row(part: &str, name: &str, cells: &[String]) {
    let cells: String = cells.iter().map(|cell| format!("<td>{cell}</td>")).collect();
    let cells = cells.replace("<td>*", "<td class=\"total\">");
    let has = |row: &str| row.contains(&escaped(name)) && row.contains(&cells);
    assert!(part.split("<tr").any(has), "{name}: {cells} in {part}");
}

#[test]
fn a_page_has_what_each_use_wants_to_know() {
    let workspace = all_uses();
    let (page, json) = page_and_json(&workspace, &[&["visits.log"], &USES[..]].concat());
    // What was asked for comes right after what happened over time.
    let titles: Vec<&str> = page.split("<h2 id=\"").skip(1).map(|rest| &rest[..rest.find('"').unwrap()]).collect();
    assert_eq!(titles[..6], ["over-time", "advertising", "reconciled", "blog", "shop", "funnel"]);
    assert!(titles.iter().all(|title| page.contains(&format!("<a href=\"#{title}\">"))));

    let (found, wanted) = (part(&page, "Advertising"), &json["advertising"]);
    let percent = |value: &Value| value.as_f64().map(|percent| format!("{percent:.2}")).unwrap_or_default();
    assert!(list(wanted, "rows").len() > 20);
    for row in list(wanted, "rows") {
        let net = |step: &str| grouped(&row[step]["net"]);
        let cells = [
            grouped(&row["impressions"]["gross"]),
            format!("*{}", net("impressions")),
            net("viewable"),
            percent(&row["viewable_percent"]),
            net("clicks"),
            percent(&row["click_percent"]),
            net("conversions"),
            percent(&row["conversion_percent"]),
        ];
        has_row(found, &format!("{} at {}", text(row, "campaign"), text(row, "publisher")), &cells);
    }
    for row in list(wanted, "rows").iter().chain([&wanted["total"]]) {
        for step in ["impressions", "viewable", "clicks", "conversions"] {
            let parts = ["gross", "bots", "data_centres", "duplicates", "net", "without_id"];
            let mut cells = parts.map(|part| grouped(&row[step][part]));
            if row.get("campaign").is_none() {
                cells[4].insert(0, '*');
            }
            has_row(found, step.trim_end_matches('s'), &cells);
        }
    }

    let (found, wanted) = (part(&page, "Reconciled"), &json["reconciled"]);
    assert!(wanted["total"]["only_standard"].as_u64().unwrap() > 100, "{}", wanted["total"]);
    let summary = format!("<p><strong>{}.</strong></p>", text(wanted, "summary"));
    assert!(found[found.find("<p>").unwrap()..].starts_with(&summary), "{found}");
    let hours = list(wanted, "by_hour");
    let listed = hours.iter().filter(|hour| {
        let time = text(hour, "begin");
        found.contains(&format!(
            "{} {} {}</th><td>{}</td><td>{}</td><td>{}",
            &time[..10],
            &time[11..16],
            &time[19..],
            grouped(&hour["standard_lines"]),
            grouped(&hour["real_time_lines"]),
            grouped(&hour["both"])
        ))
    });
    assert_eq!((hours.len(), listed.count()), (72, 20));
    assert!(found.contains(&format!("Of {} hours, these miss most", hours.len())), "{found}");
    let keys = ["standard_lines", "real_time_lines", "both", "only_standard", "only_real_time"];
    let mut cells: Vec<String> = keys.map(|key| grouped(&wanted["total"][key])).into();
    cells.push(format!("{:.3} %", wanted["total"]["missing_percent"].as_f64().unwrap()));
    has_row(found, "all hours", &cells);
    for (reason, bad) in wanted["standard_log"]["bad_by_reason"].as_object().expect("reasons") {
        assert!(found.contains(&format!("{reason}</th><td>{}</td>", grouped(&bad["count"]))), "{reason}");
    }

    let (found, wanted) = (part(&page, "Blog"), &json["blog"]);
    for (title, key) in [("Topics", "topics"), ("Countries of readers", "countries"), ("Devices of readers", "devices")]
    {
        let (section, rows) = (section(found, title), list(&wanted[key], "rows"));
        assert!(!rows.is_empty());
        for row in rows.iter().take(20) {
            let cells = [grouped(&row["beacons"]), format!("{:.1}", row["percent"].as_f64().unwrap())];
            has_row(section, text(row, "name"), &cells);
        }
        assert_eq!(section.matches("class=\"measured\"").count(), rows.len().min(20), "{title}");
    }
    let mobile = format!("<strong>{:.1} % mobile</strong>", wanted["mobile_percent"].as_f64().unwrap());
    assert!(found.contains(&mobile) && found.contains(&grouped(&wanted["mobile"])), "{found}");

    let (found, wanted) = (part(&page, "Shop"), &json["shop"]);
    let amounts = |counts: &Value| -> Vec<String> {
        let revenue = list(counts, "revenue").iter();
        revenue.map(|sum| format!("{} {}", text(sum, "amount"), text(sum, "currency"))).collect()
    };
    assert!(!list(wanted, "products").is_empty() && !amounts(&wanted["total"]).is_empty());
    for row in list(wanted, "products").iter().chain([&wanted["total"]]) {
        let mut cells: Vec<String> = ["views", "carts", "checkouts", "paid"].map(|key| grouped(&row[key])).into();
        let revenue: String = amounts(row).iter().map(|sum| format!("<div>{sum}</div>")).collect();
        cells.push(format!("*{revenue}"));
        has_row(found, row["product"].as_str().unwrap_or("all products"), &cells);
    }
    for key in ["abandoned_carts", "front_page_exits"] {
        let figure = format!("<dd class=\"figure\">{:.1} %</dd>", wanted[key]["percent"].as_f64().unwrap());
        assert!(found.contains(&figure), "{figure} in {found}");
    }
    let revenue = format!("<dd class=\"figure\">{}</dd>", amounts(&wanted["total"]).join(", "));
    assert!(found.contains(&revenue), "{revenue} in {found}");

    // What is said of the numbers is on the page, too. The first letter may be a capital.
    for (title, key) in
        [("Advertising", "advertising"), ("Reconciled", "reconciled"), ("Blog", "blog"), ("Shop", "shop")]
    {
        let of = &json[key];
        let definitions = of["definitions"].as_array().into_iter().flatten().map(|of| text(of, "definition"));
        let notes = of["notes"].as_array().into_iter().flatten().map(|note| note.as_str().expect("text"));
        for said in definitions.chain(notes).chain(of["definition"].as_str()) {
            assert!(part(&page, title).contains(&escaped(&said[1..])), "{title}: {said}");
        }
    }
}

#[test]
fn rows_behind_the_first_are_one_click_away() {
    let workspace = all_uses();
    let (page, json) = page_and_json(&workspace, &[&["visits.log", "--top", "3"], &USES[..]].concat());
    let not_shown = &json["advertising"]["not_shown"];
    let name = format!("<em>{} others</em>", grouped(&not_shown["placements"]));
    let (gross, net) = (grouped(&not_shown["impressions"]["gross"]), grouped(&not_shown["impressions"]["net"]));
    let found = part(&page, "Advertising");
    assert!(!found.contains("The others: "), "{found}");
    let row = found.split("<tr").find(|row| row.contains(&name)).unwrap_or_else(|| panic!("no {name}"));
    assert!(row.contains(&format!("<td>{gross}</td><td class=\"total\">{net}</td>")), "{row}");
    let (page, json) = page_and_json(&workspace, &[&["visits.log"], &USES[..]].concat());
    let more = list(&json["advertising"], "rows").len() - 20;
    assert!(part(&page, "Advertising").contains(&format!("The others: {more} more")), "{more}");
}

#[test]
fn a_page_shows_the_first_names_and_how_many_others_there_are() {
    let workspace = visits();
    let (page, json) = page_and_json(&workspace, &["visits.log"]);
    let pages = list(&json, "tables").iter().find(|table| table["name"] == "pages").expect("pages");
    assert_eq!(list(pages, "rows").len(), 100);
    let section = section(&page, "Pages");
    assert_eq!(section.matches("class=\"measured\"").count(), 20);
    let rest: u64 = list(pages, "rows")[20..].iter().map(|row| row["beacons"].as_u64().unwrap()).sum();
    let others = json!(rest + pages["others"].as_u64().unwrap());
    let names = json!(pages["names"].as_u64().unwrap() - 20);
    let row = format!("<em>{} others</em></th><td>{}</td>", grouped(&names), grouped(&others));
    assert!(section.contains(&row), "{row} in {section}");
}

#[test]
fn text_of_a_log_is_text_on_the_page() {
    let workspace = Workspace::new();
    // Percent-encoded twice, as CloudFront does.
    let hostile = [
        ("%253Cscript%253Ealert(1)%253C/script%253E", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("%2522%2520onmouseover%253D%2522alert(2)", "&quot; onmouseover=&quot;alert(2)"),
        ("a%25E2%2580%25AEtxt.exe", "a\u{fffd}txt.exe"),
        ("%2526lt%253B", "&amp;lt;"),
    ];
    let line = |(encoded, _): (&str, &str)| {
        let query = format!("e={encoded}&url=https://example.com/{encoded}&utm_source={encoded}");
        format!("1767600000.123\t192.0.2.1\t{query}\t<b>Mozilla/5.0</b>\"\t<i>\n")
    };
    let bad = "<img src=x>\n";
    let log: String = hostile.map(line).concat() + bad;
    workspace.write("<u>&\".log", log.as_bytes());
    let fields = ["--fields", "timestamp,c-ip,cs-uri-query,cs-user-agent,c-country"];
    let funnel = ["--funnel", "cs-user-agent=<b* > c-country=<i*"];
    let (page, json) = page_and_json(&workspace, &[&["<u>&\".log"], &fields[..], &funnel].concat());
    assert_eq!(json["beacons"]["beacons"], 4);
    for (_, shown) in hostile {
        let bar = format!("<span class=\"measured\">{shown}<span");
        assert!(section(&page, "Events").contains(&bar), "{bar} in {page}");
    }
    for absent in ["<script", "<b>", "<u>", "<i>", "<img", "\" onmouseover", "\u{202e}"] {
        assert!(!page.contains(absent), "{absent}");
    }
    for shown in ["&lt;u&gt;&amp;&quot;.log", "cs-user-agent=&lt;b*", "&lt;b&gt;Mozilla/5.0&lt;/b&gt;&quot;"] {
        assert!(page.contains(shown), "{shown} in {page}");
    }
}

#[test]
fn a_page_loads_nothing_and_needs_no_script() {
    let workspace = all_uses();
    let (page, _) = page_and_json(&workspace, &[&["visits.log", "--funnel", FUNNEL], &USES[..]].concat());
    for absent in [" src=", "<script", "<link", "<img", "<iframe", "@import", "url(", "NaN", ",inf", "\"inf", ">inf<"] {
        assert!(!page.contains(absent), "{absent}");
    }
    let anchors: Vec<&str> = page.split(" href=\"").skip(1).map(|rest| &rest[..rest.find('"').unwrap()]).collect();
    assert!(anchors.len() >= 10, "{anchors:?}");
    for anchor in anchors {
        let id = anchor.strip_prefix('#').unwrap_or_else(|| panic!("{anchor} leads away"));
        assert_eq!(page.matches(&format!(" id=\"{id}\"")).count(), 1, "{anchor}");
    }
    for element in
        ["svg", "table", "tr", "td", "th", "div", "p", "h2", "h3", "span", "text", "section", "dl", "details"]
    {
        let opened = page.matches(&format!("<{element}>")).count() + page.matches(&format!("<{element} ")).count();
        assert_eq!(opened, page.matches(&format!("</{element}>")).count(), "{element}");
    }
}

#[test]
fn everyone_can_read_a_page() {
    let workspace = all_uses();
    workspace.write("empty.log", b"");
    let funnel = ["visits.log", "--funnel", FUNNEL, "--sampling", "10", "--html", "full.html"];
    report(&workspace, &[&funnel, &USES[..]].concat()).ok();
    report(&workspace, &["empty.log", "--html", "empty.html"]).ok();
    for page in ["full.html", "empty.html"] {
        let Some(checked) = peers::check_page(workspace.path(page)) else { return };
        assert_eq!(checked.len(), 4);
        for seen in checked {
            let what = format!("{page}, {} pixels wide, {}", seen.width, seen.scheme);
            assert_eq!(seen.violations, [""; 0], "{what}");
            assert_eq!(seen.unreachable, [""; 0], "{what}");
            assert_eq!(seen.requests, [""; 0], "{what}");
            assert_eq!(seen.errors, [""; 0], "{what}");
            assert!(seen.overflow <= 0, "{what}: {}", seen.overflow);
            assert_eq!(seen.ground == "rgb(255, 255, 255)", seen.scheme == "light", "{what}");
            let [color, ground] = ["rgb(27, 31, 36)", "rgb(255, 255, 255)"].map(str::to_owned);
            assert_eq!(seen.paper, Paper { color, ground, cut: 0 }, "{what}: dark on white");
            if page == "full.html" && seen.width == 390 {
                assert!(seen.scrolling > 0, "{what}: charts are wider than a phone");
            }
        }
    }
}

#[test]
fn an_estimate_says_so() {
    let workspace = visits();
    let (page, json) = page_and_json(&workspace, &["visits.log", "--sampling", "10"]);
    assert_eq!(json["scale"], 10.0);
    assert!(page.contains("scaled beacons</th>") && page.contains("cannot be scaled"), "{page}");
    let (page, _) = page_and_json(&workspace, &["visits.log"]);
    assert!(!page.contains("scaled") && page.contains("Exact, without bots"), "{page}");
}

#[test]
fn what_a_log_does_not_have_is_left_out() {
    let workspace = Workspace::new();
    workspace.write(
        "visits.log",
        &run(
            &mut workspace.command(&[
                "generate",
                "--visitors",
                "40",
                "--days",
                "20",
                "--schema",
                "standard",
                "--clean",
            ]),
            b"",
        )
        .ok()
        .stdout,
    );
    workspace.write("empty.log", b"");
    let (page, _) = page_and_json(&workspace, &["visits.log"]);
    for absent in [">Advertising</h2>", ">Reconciled</h2>", ">Blog</h2>", ">Shop</h2>"] {
        assert!(!page.contains(absent), "{absent}");
    }
    for absent in ["<h3>Countries</h3>", "<h3>Networks</h3>", ">Funnel</h2>", "class=\"warning\"", "Beacons by hour"] {
        assert!(!page.contains(absent), "{absent}");
    }
    assert!(page.contains("<h3>Beacons by day</h3>") && page.contains("<h3>Edge locations</h3>"), "{page}");
    let (page, _) = page_and_json(&workspace, &["empty.log"]);
    assert!(page.contains("No beacon has a time") && page.contains("nothing breaks a rule"), "{page}");
    assert!(!page.contains("<svg"), "{page}");
}

#[test]
fn files_take_the_place_of_text() {
    let workspace = visits();
    let run = report(&workspace, &["visits.log"]).ok();
    assert!(String::from_utf8_lossy(&run.stdout).contains("By day"), "{}", run.stderr);
    workspace.write("tables/pages.csv", b"of an older report");
    workspace.write("report.html", b"of an older report");
    let run = report(&workspace, &["visits.log", "--html", "report.html", "--csv", "tables"]).ok();
    assert!(run.stdout.is_empty());
    run.says(&["wrote report.html and ", " files in tables"]);
    assert!(!fs::read_to_string(workspace.path("tables/pages.csv")).unwrap().contains("older"));
    assert!(!fs::read_to_string(workspace.path("report.html")).unwrap().contains("older"));
    let run = report(&workspace, &["visits.log", "--html", "report.html", "--quiet"]).ok();
    assert_eq!((run.stdout.len(), run.stderr.as_str()), (0, ""));
    // Nothing but what was asked for is there.
    let names = |folder: &str| -> Vec<String> {
        let files = all_files_below(&workspace.path(folder));
        files.iter().map(|file| file.file_name().unwrap().to_string_lossy().into_owned()).collect()
    };
    assert!(names("tables").iter().all(|name| name.ends_with(".csv")), "{:?}", names("tables"));
    assert!(!names("").iter().any(|name| name.ends_with(".part")));
    report(&workspace, &["visits.log", "--html", "no/such/folder.html"])
        .exits(1)
        .says(&["no/such/folder.html: ", "o such file"]);
    report(&workspace, &["visits.log", "--csv", "visits.log"]).exits(1).says(&["visits.log: "]);
    report(&workspace, &["visits.log", "--csv", "visits.log/below"]).exits(1).says(&["visits.log/below: "]);
}

/// The files of a folder as Python reads them: the rows of each by their columns.
fn read_csv(workspace: &Workspace, folder: &str) -> BTreeMap<String, Vec<BTreeMap<String, String>>> {
    const READ: &str = "import csv, json, pathlib, sys
files = pathlib.Path(sys.argv[1]).glob('*.csv')
read = lambda file: list(csv.DictReader(file.open(encoding='utf-8', newline=''), strict=True))
print(json.dumps({file.stem: read(file) for file in files}))";
    let mut python = Command::new("python3");
    let files = peers::run(python.args(["-c", READ]).arg(workspace.path(folder)), b"");
    serde_json::from_slice(&files).expect("rows of text")
}

/// Whether a field says what the JSON does.
fn is_same(field: &str, value: &Value) -> bool {
    match value {
        Value::Null => field.is_empty(),
        Value::String(text) => field == text,
        Value::Bool(truth) => field == truth.to_string(),
        Value::Number(number) if number.is_u64() => field == number.to_string(),
        // serde_json reads fractions to the last bit but one.
        Value::Number(number) => {
            let (field, number): (f64, f64) = (field.parse().unwrap_or(f64::NAN), number.as_f64().unwrap_or(f64::NAN));
            (field - number).abs() <= 1e-15 * number.abs()
        }
        Value::Array(_) | Value::Object(_) => false,
    }
}

/// A table against the members of objects in the JSON.
#[track_caller]
fn compare(name: &str, rows: &[BTreeMap<String, String>], objects: &[Value]) {
    assert_eq!(rows.len(), objects.len(), "{name}");
    for (row, object) in rows.iter().zip(objects) {
        assert!(!row.is_empty(), "{name}");
        for (column, field) in row {
            assert!(is_same(field, &object[column]), "{name}: {column} is {field:?} and not {}", object[column]);
        }
    }
}

#[test]
fn csv_files_say_what_the_json_does() {
    let workspace = all_uses();
    // Text that only quoting keeps together.
    let mut log = fs::read(workspace.path("visits.log")).unwrap();
    let line = lines(&log).find(|line| line.windows(7).any(|part| part == b"e=view&")).expect("a view").to_vec();
    let line = String::from_utf8(line).unwrap().replace("e=view&", "e=a%2522,%250D%250Ab%25F0%259F%2598%2580&");
    log.extend(line.as_bytes());
    workspace.write("visits.log", &log);
    let to = ["visits.log", "--funnel", FUNNEL, "--json", "--csv", "new/tables"];
    let run = report(&workspace, &[&to, &USES[..]].concat()).ok();
    let json: Value = serde_json::from_slice(&run.stdout).expect("JSON");
    let files = read_csv(&workspace, "new/tables");
    for table in list(&json, "tables") {
        let name = text(table, "name");
        compare(name, &files[name], list(table, "rows"));
    }
    assert!(files["events"].iter().any(|row| row["name"] == "a\",\r\nb😀"), "{:?}", files["events"]);
    compare("tables", &files["tables"], list(&json, "tables"));
    compare("by_hour", &files["by_hour"], list(&json["by_hour"], "rows"));
    compare("by_day", &files["by_day"], list(&json["by_day"], "rows"));
    compare("sessions_entries", &files["sessions_entries"], list(&json["sessions"], "entries"));
    compare("sessions_exits", &files["sessions_exits"], list(&json["sessions"], "exits"));
    compare("funnel", &files["funnel"], list(&json["funnel"], "steps"));
    compare("latency", &files["latency"], list(&json, "latency"));
    compare("recent", &files["recent"], list(&json, "recent"));
    let rules = list(&json["abnormal"], "rules");
    compare("abnormal", &files["abnormal"], rules);
    // What lies deeper has the key of what it lies in.
    let with = |outer: &Value, key: &str, inner: &Value| {
        let mut inner = if inner.is_object() { inner.clone() } else { json!({ "note": inner }) };
        inner[key] = outer[key].clone();
        inner
    };
    let inner = |outer: &[Value], key: &str, list_of: &str| -> Vec<Value> {
        outer.iter().flat_map(|outer| list(outer, list_of).iter().map(move |inner| with(outer, key, inner))).collect()
    };
    compare("abnormal_examples", &files["abnormal_examples"], &inner(rules, "name", "examples"));
    compare("abnormal_notes", &files["abnormal_notes"], &inner(rules, "name", "notes"));
    compare("funnel_left_on", &files["funnel_left_on"], &inner(list(&json["funnel"], "steps"), "step", "left_on"));
    for (name, lines) in [("bad_lines", &json["lines"]), ("reconciled_bad_lines", &json["reconciled"]["standard_log"])]
    {
        let reasons = lines["bad_by_reason"].as_object().expect("reasons").iter();
        let reasons: Vec<Value> = reasons
            .map(|(reason, bad)| json!({ "reason": reason, "count": bad["count"], "first": bad["first"] }))
            .collect();
        assert!(!reasons.is_empty());
        compare(name, &files[name], &reasons);
    }
    let placements: Vec<Value> = list(&json["advertising"], "rows")
        .iter()
        .map(|row| {
            let mut flat = row.clone();
            for step in ["impressions", "viewable", "clicks", "conversions"] {
                for (part, count) in row[step].as_object().expect("numbers") {
                    flat[format!("{step}.{part}")] = count.clone();
                }
            }
            flat
        })
        .collect();
    compare("advertising", &files["advertising"], &placements);
    compare("reconciled", &files["reconciled"], list(&json["reconciled"], "by_hour"));
    for part in ["topics", "countries", "devices"] {
        let name = format!("blog_{part}");
        compare(&name, &files[&name], list(&json["blog"][part], "rows"));
    }
    let products = list(&json["shop"], "products");
    compare("shop_products", &files["shop_products"], products);
    compare("shop_products_revenue", &files["shop_products_revenue"], &inner(products, "product", "revenue"));
    compare("shop_revenue", &files["shop_revenue"], list(&json["shop"]["total"], "revenue"));
    let of_parts = |keys: &[&str], list_of: &str| -> Vec<Value> {
        let parts: Vec<Value> = keys.iter().map(|key| json!({ "part": key, list_of: json[key][list_of] })).collect();
        inner(&parts, "part", list_of)
    };
    let definitions = of_parts(&["advertising", "blog", "shop"], "definitions");
    compare("definitions", &files["definitions"], &definitions);
    compare("notes", &files["notes"], &of_parts(&["advertising", "reconciled", "shop"], "notes"));
    for name in ["advertising", "reconciled", "blog_topics", "shop_products", "shop_revenue", "definitions", "notes"] {
        assert!(!files[name].is_empty(), "{name}");
    }
    let summary: BTreeMap<&str, &str> = files["summary"].iter().map(|row| (&*row["name"], &*row["value"])).collect();
    for (name, value) in &summary {
        let in_json = json.pointer(&format!("/{}", name.replace('.', "/"))).unwrap_or_else(|| panic!("{name}"));
        assert!(is_same(value, in_json), "{name}: {value} and not {in_json}");
    }
    for name in [
        "beacons.beacons",
        "visitors.people",
        "sessions.median_seconds",
        "lines.bad",
        "funnel.visitors",
        "scale",
        "advertising.total.impressions.net",
        "advertising.ids.forgotten",
        "reconciled.total.only_standard",
        "reconciled.summary",
        "blog.mobile_percent",
        "shop.abandoned_carts.percent",
        "shop.total.paid",
    ] {
        assert!(summary.contains_key(name), "{name}");
    }
    let known = ["summary", "unread_inputs"].len() + list(&json, "tables").len() + 25;
    assert_eq!(files.len(), known, "{:?}", files.keys());

    // The same files without rows, as there is nothing to say.
    workspace.write("empty.log", b"");
    report(&workspace, &["empty.log", "--csv", "empty"]).ok();
    let empty = read_csv(&workspace, "empty");
    assert!(empty.keys().eq(files.keys()));
    for name in ["funnel", "pages", "advertising", "reconciled", "blog_topics", "shop_products", "definitions"] {
        assert!(empty[name].is_empty(), "{name}");
    }
    let header = fs::read_to_string(workspace.path("empty/pages.csv")).unwrap();
    assert_eq!(header, "name,beacons,bots,percent\r\n");
}
