use crate::support::*;

const COMMANDS: [&str; 15] = [
    "ingest",
    "run",
    "demo",
    "lambda",
    "kcl",
    "ship",
    "check",
    "decode",
    "generate",
    "plan",
    "report",
    "schema",
    "compact",
    "completions",
    "man",
];

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = run(&mut Workspace::new().command(&["completions", shell]), b"").ok();
        let script = String::from_utf8(run.stdout).expect("UTF-8");
        for command in COMMANDS {
            assert!(script.contains(command), "{shell}: {command}");
        }
        assert!(script.contains("record-size"), "{shell}");
    }
}

#[test]
fn bash_reads_its_completions() {
    let workspace = Workspace::new();
    let script = run(&mut workspace.command(&["completions", "bash"]), b"").ok().stdout;
    workspace.write("completions.bash", &script);
    let mut bash = std::process::Command::new("bash");
    bash.args(["-n", "completions.bash"]).current_dir(workspace.path("")).stderr(std::process::Stdio::piped());
    match bash.output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => skipped(&format!("the check of bash completions: bash does not start: {error}")),
    }
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let workspace = Workspace::new();
    let program = run(&mut workspace.command(&["man"]), b"").ok();
    let text = String::from_utf8(program.stdout).expect("UTF-8");
    assert!(text.contains(".TH pixel\\-engine") || text.contains(".TH pixel-engine"), "{text}");
    for command in COMMANDS {
        assert!(text.contains(&format!("pixel\\-engine\\-{command}(1)")), "{command} in:\n{text}");
        let page = run(&mut workspace.command(&["man", command]), b"").ok();
        assert!(!page.stdout.is_empty());
    }
    let page = run(&mut workspace.command(&["man", "ingest"]), b"").ok();
    assert!(String::from_utf8_lossy(&page.stdout).contains("record\\-size"));
    run(&mut workspace.command(&["man", "nothing"]), b"")
        .exits(2)
        .says(&["no command of that name", "ingest, run, demo, lambda, kcl, ship, check, decode"]);
}

#[test]
fn help_tells_the_exit_codes() {
    let run = run(&mut Workspace::new().command(&["--help"]), b"").ok();
    let help = String::from_utf8(run.stdout).expect("UTF-8");
    for part in ["Exit codes", "PIXEL_ENGINE_SIMD", "130"].iter().chain(&COMMANDS) {
        assert!(help.contains(part), "{part}");
    }
}
