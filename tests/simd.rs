use pixel_engine::simd::{Isa, VARIABLE};

use crate::support::*;

fn bad_and_good_lines() -> Vec<u8> {
    let mut text = Vec::new();
    for (number, line) in lines(&log("realtime-46", 6_000)).enumerate() {
        match number % 500 {
            7 => text.extend_from_slice(b"three\tcolumns\there\n"),
            70 => text.extend_from_slice(b"\n"),
            77 => text.extend_from_slice(b"a\0hole\n"),
            _ => {}
        }
        text.extend_from_slice(line);
    }
    text
}

#[test]
fn every_path_delivers_the_same_bytes() {
    let text = bad_and_good_lines();
    let standard = log("standard", 2_000);
    let isas: Vec<Isa> = Isa::available().collect();
    assert!(isas.contains(&Isa::Memchr));
    for arguments in [
        &["--record-size", "10240"][..],
        &["--encode", "jsonl", "--compress", "zstd"],
        &["--container", "kpl"],
        &["--container", "kpl", "--record-size", "1MiB", "--encode", "jsonl"],
        &["--select", "x-edge-request-id,query.e,uri-path", "--match", "sc-status=2*"],
    ] {
        for text in [&text, &standard] {
            let outputs: Vec<(Vec<u8>, Vec<Vec<u8>>)> = isas
                .iter()
                .map(|isa| {
                    let workspace = Workspace::new();
                    let mut command =
                        workspace.ingest_command(&[&["--to", "stdout:", "--threads", "1"], arguments].concat());
                    let run = workspace.ingest_with(command.env(VARIABLE, isa.name()), text).ok();
                    assert_eq!(run.summary().simd, isa.name());
                    (run.stdout, workspace.quarantine().iter().map(BadLine::bytes).collect())
                })
                .collect();
            for (isa, output) in isas.iter().zip(&outputs) {
                assert!(*output == outputs[0], "{isa} and {}: {arguments:?}", isas[0]);
            }
        }
    }
}

#[test]
fn the_version_names_the_path() {
    for isa in Isa::available() {
        let run = run(Workspace::new().command(&["--version"]).env(VARIABLE, isa.name()), b"").ok();
        let version = String::from_utf8(run.stdout).expect("UTF-8");
        assert!(version.contains(&format!("scan: {isa}")), "{version}");
        assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    }
    let best = Isa::available().last().expect("there is always one").name();
    let run = run(Workspace::new().command(&["--version"]).env(VARIABLE, "mmx"), b"").ok();
    assert!(String::from_utf8_lossy(&run.stdout).contains(&format!("scan: {best}")));
    run.says(&["PIXEL_ENGINE_SIMD", "`mmx`"]);
}
