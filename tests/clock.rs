//! A system clock that jumps while the sidecar runs, by libfaketime.

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::network::Sidecar;
use crate::peers::is_installed;
use crate::support::wait_until;

/// The variant for programs with threads, in the folder of whatever architecture this is.
pub(crate) fn libfaketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok);
    folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.is_file())
}

/// Lines are neither lost nor kept waiting by the linger.
#[test]
fn lines_arrive_whatever_the_clock_does() {
    let library = libfaketime();
    let library = library.as_deref().unwrap_or("/usr/lib/faketime/libfaketimeMT.so.1".as_ref());
    let program = library.to_str().expect("UTF-8");
    if !is_installed("a clock that jumps", &[program], "libfaketime") {
        return;
    }
    let test = Sidecar::with("pixel_fields = \"realtime-46\"", "");
    let file = fs::read_to_string(test.workspace.path("pixel-engine.toml")).expect("it is there");
    test.workspace.write("pixel-engine.toml", file.replace("linger = \"100ms\"", "linger = \"500ms\"").as_bytes());
    // Renamed, so that no half of an offset is ever read.
    let set_clock = |offset: i64| {
        test.workspace.write("clock.new", format!("{offset:+}\n").as_bytes());
        fs::rename(test.workspace.path("clock.new"), test.workspace.path("clock")).expect("it is there");
    };
    set_clock(0);
    let child = test.start_with(|command| {
        command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", test.workspace.path("clock"));
        // A clock that somebody sets is not the monotonic one.
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    });
    let hit = |name: &str| {
        let reply = test.send(&format!("GET /pixel.gif?n={name} HTTP/1.1\r\n"), b"");
        assert_eq!(reply.status, 200, "{}", reply.text());
    };
    let find = |name: &str| {
        let wanted = format!("?n={name}\t");
        let lines = test.arrived().into_iter().map(|line| String::from_utf8(line).expect("ASCII"));
        lines.filter(|line| line.contains(&wanted)).collect::<Vec<_>>()
    };
    const HOUR: i64 = 3_600;
    for (number, offset) in [2 * HOUR, -3 * HOUR, 400 * 24 * HOUR, -HOUR, 0].into_iter().enumerate() {
        // One that waits when the clock jumps, and one that comes after.
        let (before, after) = (format!("{number}-before"), format!("{number}-after"));
        hit(&before);
        // AWS refuses a request that is signed at another time than its own.
        test.aws.clock_offset(offset);
        set_clock(offset);
        hit(&after);
        wait_until("both arrived", || !find(&before).is_empty() && !find(&after).is_empty());
        // Its own time tells that the clock did jump.
        let time: f64 = find(&after)[0].split('\t').next().expect("a column").parse().expect("seconds");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let off = time - now.as_secs_f64() - offset as f64;
        assert!(off.abs() < 600.0, "{off} s from where the clock was set");
    }
    // A clock that only this machine has: nothing is delivered, and nothing lost, until it is set.
    let refused = || test.aws.counters().request_errors.get("InvalidSignatureException").copied().unwrap_or_default();
    let before = refused();
    set_clock(2 * HOUR);
    hit("wrong");
    wait_until("AWS refuses it", || refused() > before);
    assert!(find("wrong").is_empty());
    set_clock(0);
    wait_until("it arrived", || !find("wrong").is_empty());
    test.stop(child).ok();
}
