use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use pixel_engine::source::Input;

use crate::support::*;

/// How many damaged files of each codec are made.
const DAMAGES: usize = 600;

/// Bytes that a decoder may give of what stands behind damage, before it notices.
const MAX_OVERSHOOT: usize = 4_096;

/// How reading a file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Ok,
    Damaged,
    Truncated,
    Trailing,
}

/// What we read of a file, and how it ended: an error names a byte of the file.
fn read(path: &Path) -> (Vec<u8>, End) {
    let mut text = Vec::new();
    let mut input = Input::File(path.to_owned()).open(Arc::default(), Arc::default()).expect("it is recognised");
    let Err(error) = input.read_to_end(&mut text) else { return (text, End::Ok) };
    let message = error.to_string();
    let (_, rest) = message.split_once("at byte ").unwrap_or_else(|| panic!("no byte in: {message}"));
    let digits = rest.split(|character: char| !character.is_ascii_digit()).next().expect("a piece");
    let at: u64 = digits.parse().unwrap_or_else(|_| panic!("no byte in: {message}"));
    assert!(at <= fs::metadata(path).expect("a file").len(), "{message}");
    let ends = [
        ("is damaged", End::Damaged),
        ("more memory", End::Damaged),
        ("ends in the middle", End::Truncated),
        ("all of the", End::Trailing),
    ];
    let end = ends.into_iter().find(|(part, _)| message.contains(part));
    (text, end.unwrap_or_else(|| panic!("another error: {message}")).1)
}

/// The bytes, damaged in one of the ways of disks, networks and people; the magic stays.
fn damaged(mut bytes: Vec<u8>, random: &mut fastrand::Rng) -> Vec<u8> {
    let at = random.usize(6..bytes.len());
    let until = (at + random.usize(1..40)).min(bytes.len());
    match random.u32(0..9) {
        0 | 1 => bytes[at] ^= 1 << random.u32(0..8),
        2 => bytes[at] = random.u8(..),
        3 => bytes.truncate(at),
        4 => bytes[at..until].fill(0),
        5 => drop(bytes.drain(at..until)),
        6 => drop(bytes.splice(at..at, std::iter::repeat_with(|| random.u8(..)).take(until - at).collect::<Vec<u8>>())),
        7 => bytes.extend(vec![0; random.usize(1..40)]),
        _ => bytes.extend([&b"\n"[..], b"garbage", b"\x1f", b"\x1f\x8b", b"BZh9", b"\0\0\0\0\n"][random.usize(0..6)]),
    }
    bytes
}

/// Files of two members with one of the paddings between, each damaged in its own way.
fn damaged_files(workspace: &Workspace, pack: Pack, paddings: &[usize], count: usize) -> Vec<String> {
    let mut random = fastrand::Rng::with_seed(SEED);
    fs::create_dir(workspace.path("files")).expect("a folder");
    let names = (0..count).map(|number| {
        let lines = random.u64(1..12);
        let padding = vec![0; paddings[random.usize(0..paddings.len())]];
        let members = [pack(&log("realtime-46", lines)), padding, pack(&log_from("realtime-46", lines, 12))].concat();
        let name = format!("{number:05}");
        fs::write(workspace.path("files").join(&name), damaged(members, &mut random)).expect("a file");
        name
    });
    names.collect()
}

/// Python gives the same bytes and ends the same way.
fn python_agrees(codec: &str, pack: Pack, paddings: &[usize]) {
    let workspace = Workspace::new();
    let names = damaged_files(&workspace, pack, paddings, DAMAGES);
    let folder = workspace.path("files");
    let ours: Vec<(Vec<u8>, End)> = names.iter().map(|name| read(&folder.join(name))).collect();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/damage.py");
    let python = Command::new("python3").arg(script).arg(codec).arg(&folder).output().expect("python3 starts");
    assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
    let text = String::from_utf8(python.stdout).expect("text");
    assert_eq!(text.lines().count(), DAMAGES);
    let mut ends = [0; 4];
    for ((name, (bytes, end)), line) in names.iter().zip(&ours).zip(text.lines()) {
        let theirs = fs::read(folder.join(format!("{name}.out"))).expect("what Python read");
        let [wanted, is_read_whole] =
            line.strip_prefix(name).expect("the same file").trim().split(' ').collect::<Vec<_>>()[..]
        else {
            panic!("{line}")
        };
        assert_eq!(format!("{end:?}").to_lowercase(), wanted, "{codec} {name}");
        // A decoder that meets damage may take back what it gave in the same call, and may have
        // gone on a little: Python is asked for single bytes there. Only zlib does neither.
        let is_same = match end {
            End::Damaged if codec != "gzip" => {
                theirs.starts_with(bytes) || bytes.starts_with(&theirs) && bytes.len() - theirs.len() <= MAX_OVERSHOOT
            }
            _ => *bytes == theirs,
        };
        assert!(is_same, "{codec} {name}: {} bytes, Python has {}", bytes.len(), theirs.len());
        // Python's lzma takes the padding that the format allows for a damaged stream.
        assert!(*end != End::Ok || is_read_whole == "yes" || codec == "xz", "{codec} {name}");
        ends[*end as usize] += 1;
    }
    assert!(ends.iter().all(|count| *count > DAMAGES / 60), "each way of ending is tried: {ends:?}");
}

#[test]
fn python_and_we_read_the_same_of_damaged_gzip() {
    python_agrees("gzip", gzip, &[0, 0, 0, 4, 5]);
}

#[test]
fn python_and_we_read_the_same_of_damaged_bzip2() {
    python_agrees("bzip2", bzip2, &[0]);
}

#[test]
fn python_and_we_read_the_same_of_damaged_xz() {
    python_agrees("xz", xz, &[0]);
}

/// What that program makes of the bytes, and whether it is content with them; `None`, said on
/// stderr, where it is not installed.
fn decompressed_by(program: &str, bytes: &[u8]) -> Option<(Vec<u8>, bool)> {
    let mut command = Command::new(program);
    let Ok(mut child) = command.arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
    else {
        skipped(&format!("decompression against another program: {program} is not installed"));
        return None;
    };
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let output = std::thread::scope(|scope| {
        // A program that ends early has seen enough.
        scope.spawn(move || stdin.write_all(bytes));
        child.wait_with_output().expect("it ends")
    });
    Some((output.stdout, output.status.success()))
}

#[test]
fn the_programs_of_the_codecs_and_we_accept_the_same_files() {
    // Padding between members is read on by xz alone.
    let packs: [(&str, Pack, &[usize]); 4] =
        [("gzip", gzip, &[0]), ("bzip2", bzip2, &[0]), ("xz", xz, &[0, 4, 5]), ("zstd", zstd_with_checksum, &[0])];
    for (program, pack, paddings) in packs {
        let workspace = Workspace::new();
        for name in damaged_files(&workspace, pack, paddings, 60) {
            let path = workspace.path("files").join(&name);
            let (ours, end) = read(&path);
            let Some((theirs, is_content)) = decompressed_by(program, &fs::read(&path).expect("a file")) else { break };
            // gzip and bzip2 warn of what stands behind the last member, where we end with an
            // error.
            assert!(end != End::Ok || is_content, "{program} {name}: accepted here alone");
            assert!(!is_content || matches!(end, End::Ok | End::Trailing), "{program} {name}: refused here: {end:?}");
            assert!(!is_content || ours == theirs, "{program} {name}: {} bytes, not {}", ours.len(), theirs.len());
            // Before an error, a program may give less, as it writes whole buffers, and gzip more:
            // it does not check that a copy reaches back no further than what was written. What
            // damaged zstd blocks become depends on the version of libzstd.
            let is_prefix = ours.starts_with(&theirs) || theirs.starts_with(&ours) || program == "zstd";
            assert!(is_prefix, "{program} {name}: {} bytes, not {}", ours.len(), theirs.len());
        }
    }
}

fn zstd_with_checksum(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("memory");
    encoder.include_checksum(true).expect("there are checksums");
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

#[test]
fn the_reader_of_libzstd_gives_nothing_that_we_do_not_give() {
    for pack in [zstd as Pack, zstd_with_checksum] {
        let workspace = Workspace::new();
        for name in damaged_files(&workspace, pack, &[0], DAMAGES) {
            let path = workspace.path("files").join(&name);
            let (ours, end) = read(&path);
            let packed = fs::read(&path).expect("a file");
            // In small pieces: libzstd takes back what the blocks before an error gave otherwise.
            let mut decoder = zstd::Decoder::new(&packed[..]).expect("memory");
            let (mut theirs, mut piece) = (Vec::new(), [0; 1 << 10]);
            let is_content = loop {
                match decoder.read(&mut piece) {
                    Ok(0) => break true,
                    Ok(count) => theirs.extend_from_slice(&piece[..count]),
                    Err(_) => break false,
                }
            };
            assert_eq!(end == End::Ok, is_content, "{name}: {end:?}");
            assert!(ours.starts_with(&theirs), "{name}: {} bytes, not {}", ours.len(), theirs.len());
            assert!(!is_content || ours.len() == theirs.len(), "{name}");
        }
    }
}
