//! A log shipper that others wrote, which posts to `/v1/logs`.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::process::{Command, Stdio};

use crate::network::Sidecar;
use crate::peers::is_installed;
use crate::support::{Guarded, id_in, lines, log_from, wait_until};

/// Where Debian has it: not every user's path leads there.
const SYSLOG_NG: &str = "/usr/sbin/syslog-ng";

/// As somebody would write it who wants every line: lines are not parsed, reading waits for
/// delivery, and what is refused for now is sent again.
const CONFIGURATION: &str = r#"@version: 3.38
options { time-reopen(1); log-fifo-size(10000); stats-freq(0); };
source s_file { file("app.log" follow-freq(0.1) flags(no-parse) log-fetch-limit(100) log-iw-size(1000)); };
destination d_pixel_engine {
    http(
        url("http://127.0.0.1:PORT/v1/logs")
        method("POST")
        headers("content-type: text/plain")
        body("${MSG}")
        delimiter("\n")
        batch-lines(100)
        batch-timeout(100)
        timeout(10)
        retries(1000)
        response-action(429 => retry, 503 => retry)
    );
};
log { source(s_file); destination(d_pixel_engine); flags(flow-control); };
"#;

#[test]
fn syslog_ng_sends_every_line_through_a_restart() {
    if !is_installed("syslog-ng as a sender", &[SYSLOG_NG], "syslog-ng-core syslog-ng-mod-http") {
        return;
    }
    let test = Sidecar::new();
    let workspace = &test.workspace;
    workspace.write("syslog-ng.conf", CONFIGURATION.replace("PORT", &test.port.to_string()).as_bytes());
    workspace.write("app.log", b"");
    let mut log = OpenOptions::new().append(true).open(workspace.path("app.log")).expect("it is there");
    let mut append = |first| log.write_all(&log_from("realtime-46", first, 5_000)).expect("it is written");
    let child = test.start();
    let mut shipper = Command::new(SYSLOG_NG);
    shipper.args(["--foreground", "--stderr", "--no-caps", "--cfgfile", "syslog-ng.conf"]);
    shipper.args(["--persist-file", "persist", "--pidfile", "pid", "--control", "control"]);
    let _shipper = Guarded::start(shipper.current_dir(workspace.path("")).stdin(Stdio::null()).stderr(Stdio::null()));
    append(0);
    wait_until("the first lines arrived", || !test.arrived().is_empty());
    // Stopped in order with lines on their way, then killed.
    append(5_000);
    test.stop(child).ok();
    append(10_000);
    let mut child = test.start();
    let before = test.arrived().len();
    wait_until("more arrived", || test.arrived().len() > before);
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    append(15_000);
    let child = test.start();
    wait_until("every line arrived", || test.arrived_ids().len() == 20_000);
    test.stop(child).ok();
    // What was being sent comes twice; what nobody sent does not come at all.
    let (sent, arrived) = (log_from("realtime-46", 0, 20_000), test.arrived());
    eprintln!("{} of 20,000 lines came twice", arrived.len() - 20_000);
    let sent: BTreeSet<&[u8]> = lines(&sent).collect();
    let strange = arrived.iter().find(|line| !sent.contains(&line[..]));
    assert_eq!(strange.map(|line| id_in(line)), None, "not a line that was sent");
    assert!(fs::read(test.workspace.path("bad.jsonl")).unwrap_or_default().is_empty());
}
