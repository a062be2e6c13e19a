//! Brings JSON into the form that the rest of the way reads: one object a line.
//!
//! Standard logs v2 come as one object a line from S3, one behind the other without a newline from
//! Firehose, inside an envelope from CloudWatch Logs, and as an array or pretty-printed from
//! people's tools. [`JsonLines`] reads any of these, and mixtures of them, in bounded memory.
//!
//! A line that begins with `{`, ends with `}` and has no other `{` passes as it is: since no JSON
//! string holds a newline, it can only be an object. So the usual log costs two searches and a
//! copy. Everything else is followed byte by byte, far enough to know where an object ends
//! ([`Scanner`]), and never to judge it: that is for who reads the lines.
//!
//! What belongs to no object becomes a line of its own, to be found bad. It ends at the newline, or
//! where an object can be read again; so damage costs the damaged object alone. In pretty-printed
//! objects a newline ends nothing, and the damage reaches to the next whole object.
//!
//! The text that comes out depends on the bytes that went in alone, not on how they were read: a
//! run that is resumed finds its offset again. Only a pipe that pauses gets its last object at
//! once, though more of the line may come; and a pipe cannot be resumed.

use std::borrow::Cow;
use std::io::{self, Read};

use memchr::{memchr, memchr2, memchr3};
use serde::Deserialize;

use super::Format;
use super::text::{BYTE_ORDER_MARK, without_blanks};
use crate::block::BLOCK_SIZE;

/// Bytes that are read at a time.
const READ_SIZE: usize = 256 << 10;
/// Blanks before the first byte that tells whether the input is JSON, at most.
const MAX_BLANKS: usize = 64 << 10;
/// Deeper than a log is: CloudFront's objects hold text alone.
const MAX_DEPTH: u32 = 64;

/// Reads one JSON object a line from any JSON, and what is not JSON as it is.
pub(crate) struct JsonLines<R> {
    input: R,
    /// What was read, and not handed on, is between `start` and `filled`.
    buffer: Vec<u8>,
    start: usize,
    filled: usize,
    /// How many bytes from `start` on are handed on as they are.
    untouched: usize,
    /// Text to hand on before these, from `ready_start` on.
    ready: Vec<u8>,
    ready_start: usize,
    /// How the input ended.
    end: Option<io::Result<()>>,
    /// The input has nothing to give for the moment.
    is_paused: bool,
    state: State,
    shape: Shape,
    /// How many arrays around objects are open.
    open_arrays: usize,
    /// Set in the envelope of CloudWatch Logs, between its events.
    envelope: Option<Envelope>,
    /// Objects have newlines in them, so that a newline does not end what is damaged.
    is_pretty: bool,
    /// Something was no object: brackets may be missing too.
    is_damaged: bool,
    /// The text to hand on ends with a newline that was dropped, or with blanks behind it.
    in_indentation: bool,
}

enum State {
    /// Nothing tells yet whether it is JSON.
    Unknown,
    /// It is not.
    Passing,
    /// Between objects; behind one that stands on the same line, or not.
    Between { behind_object: bool },
    /// At the beginning of an object.
    Object(Scanner),
    /// In an object longer than a block, whose beginning was handed on.
    LongObject(Scanner),
    /// In what is no object. The scanner is in one, perhaps, that begins `len` bytes further.
    Damage { len: usize, candidate: Option<Scanner> },
    /// Behind the events of an envelope.
    EnvelopeEnd(Scanner),
}

/// How the objects stand in the input.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// One a line, as far as can be told: lines count, the empty ones too.
    Lines,
    /// In any other way: objects count.
    Objects,
}

#[derive(Clone, Copy)]
struct Envelope {
    /// Whether it is CloudWatch's own, to see whether anybody is there: no log line is in it.
    is_control: bool,
}

/// What came of looking at the buffer.
enum Progress {
    /// There is something to hand on, or to look at in another state.
    Made,
    /// More of the input is needed.
    Starved,
    /// Nothing is left.
    Done,
}

impl<R: Read> JsonLines<R> {
    /// Takes `input` for JSON if the format says so, or its first byte that is no blank.
    pub(crate) fn new(input: R, format: Format) -> JsonLines<R> {
        let state = if format == Format::Json { State::Between { behind_object: false } } else { State::Unknown };
        JsonLines {
            input,
            buffer: Vec::new(),
            start: 0,
            filled: 0,
            untouched: 0,
            ready: Vec::new(),
            ready_start: 0,
            end: None,
            is_paused: false,
            state,
            shape: Shape::Lines,
            open_arrays: 0,
            envelope: None,
            is_pretty: false,
            is_damaged: false,
            in_indentation: false,
        }
    }

    /// Reads more behind what is there; at the end, says so in `end`.
    fn fill(&mut self) -> io::Result<()> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.filled, 0);
            self.filled -= self.start;
            self.start = 0;
        }
        self.buffer.resize(self.buffer.len().max(self.filled + READ_SIZE), 0);
        let was_paused = std::mem::take(&mut self.is_paused);
        match self.input.read(&mut self.buffer[self.filled..]) {
            Ok(0) => self.end = Some(Ok(())),
            Ok(len) => self.filled += len,
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => return Err(error),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    self.is_paused = true;
                    // Looked at once more, for what need not wait.
                    return if was_paused { Err(error) } else { Ok(()) };
                }
                // Everything before it is good.
                _ => self.end = Some(Err(error)),
            },
        }
        Ok(())
    }

    /// Looks at what is in the buffer until there is something to hand on.
    fn advance(&mut self) -> Progress {
        match std::mem::replace(&mut self.state, State::Passing) {
            State::Unknown => self.recognise(),
            State::Passing => {
                self.untouched = self.filled - self.start;
                if self.untouched > 0 { Progress::Made } else { self.starved() }
            }
            State::Between { behind_object } => self.between(behind_object),
            State::Object(scanner) => self.object(scanner),
            State::LongObject(scanner) => self.long_object(scanner),
            State::Damage { len, candidate } => self.damage(len, candidate),
            State::EnvelopeEnd(scanner) => self.envelope_end(scanner),
        }
    }

    fn text(&self) -> &[u8] {
        &self.buffer[self.start..self.filled]
    }

    fn starved(&self) -> Progress {
        if self.end.is_some() { Progress::Done } else { Progress::Starved }
    }

    fn go_on(&mut self, state: State) -> Progress {
        self.state = state;
        Progress::Made
    }

    fn recognise(&mut self) -> Progress {
        match begins_json(self.text()) {
            Some(true) => self.go_on(State::Between { behind_object: false }),
            None if self.text().len() < MAX_BLANKS && self.end.is_none() => {
                self.state = State::Unknown;
                Progress::Starved
            }
            _ => self.go_on(State::Passing),
        }
    }

    /// Passes whole lines, and what may stand between objects.
    fn between(&mut self, behind_object: bool) -> Progress {
        if self.envelope.is_none() {
            let passed = self.pass_lines();
            if passed > 0 {
                self.untouched = passed;
                if behind_object {
                    self.shape = Shape::Objects;
                }
                return self.go_on(State::Between { behind_object: false });
            }
        }
        let (mut has_brackets, mut brackets) = (false, 0);
        let shape = self.shape;
        let is_open = self.open_arrays > 0 || self.is_damaged && shape == Shape::Objects;
        let text = &self.buffer[self.start..self.filled];
        for (at, &byte) in text.iter().enumerate() {
            match byte {
                // A line of nothing but blanks is no reason to hold more than a block.
                b' ' | b'\t' | b'\r' if at < BLOCK_SIZE => {}
                0xef | 0xbb | 0xbf if is_in_mark(text, at) == Some(true) => {}
                0xef | 0xbb | 0xbf if is_in_mark(text, at).is_none() && self.end.is_none() => break,
                b'\n' => {
                    if !has_brackets && !behind_object && shape == Shape::Lines {
                        self.untouched = at + 1;
                        return self.go_on(State::Between { behind_object: false });
                    }
                    self.open(has_brackets, brackets);
                    self.start += at + 1;
                    return self.go_on(State::Between { behind_object: false });
                }
                b',' if behind_object || shape == Shape::Objects => {}
                b'[' => (has_brackets, brackets) = (true, brackets + 1),
                b']' if self.envelope.is_some() => {
                    self.start += at + 1;
                    return self.go_on(State::EnvelopeEnd(Scanner::behind_value()));
                }
                b']' if brackets > 0 => brackets -= 1,
                b']' if is_open => {
                    self.open_arrays = self.open_arrays.saturating_sub(1);
                    self.start += at + 1;
                    return self.go_on(State::Between { behind_object: true });
                }
                b'{' if at > 0 && !has_brackets && !behind_object && shape == Shape::Lines => {
                    self.untouched = at;
                    return self.go_on(State::Between { behind_object: false });
                }
                b'{' => {
                    self.open(has_brackets || behind_object, brackets);
                    self.start += at;
                    return self.go_on(if at > 0 {
                        State::Between { behind_object: false }
                    } else {
                        State::Object(Scanner::new())
                    });
                }
                _ => return self.damaged_from(0),
            }
        }
        if self.end.is_none() {
            self.state = State::Between { behind_object };
            return Progress::Starved;
        }
        self.open(has_brackets, brackets);
        if behind_object || self.shape == Shape::Objects {
            self.start = self.filled;
        }
        self.untouched = self.filled - self.start;
        self.state = State::Between { behind_object };
        if self.untouched > 0 {
            return Progress::Made;
        }
        self.check_that_all_is_closed();
        Progress::Done
    }

    /// Notes that arrays begin, or that something else shows that a line is not an object.
    fn open(&mut self, is_no_line: bool, arrays: usize) {
        self.open_arrays += arrays;
        if is_no_line {
            self.shape = Shape::Objects;
        }
    }

    /// What begins at `start` is no object, and `len` bytes of it are known not to begin one.
    fn damaged_from(&mut self, len: usize) -> Progress {
        self.is_damaged = true;
        self.in_indentation = false;
        self.go_on(State::Damage { len, candidate: None })
    }

    /// How many bytes from `start` on are lines that pass as they are.
    fn pass_lines(&self) -> usize {
        let text = self.text();
        let mut passed = 0;
        while let Some((b'{', rest)) = text[passed..].split_first() {
            let within = &rest[..rest.len().min(BLOCK_SIZE - 1)];
            let (line, newline_len) = match memchr2(b'{', b'\n', within) {
                Some(len) if within[len] == b'\n' => (&within[..len], 1),
                // The last line, to which more may be added.
                None if self.end.is_some() && within.len() == rest.len() && self.shape == Shape::Lines => (within, 0),
                _ => break,
            };
            if !matches!(line, [.., b'}'] | [.., b'}', b'\r']) {
                break;
            }
            passed += 1 + line.len() + newline_len;
        }
        passed
    }

    fn object(&mut self, mut scanner: Scanner) -> Progress {
        let text = self.text();
        let is_long = text.len() >= BLOCK_SIZE;
        let may_wait = self.envelope.is_none() && !is_long && !self.is_paused && self.end.is_none();
        // Perhaps a line that passes as it is, whose end is not there yet.
        if may_wait && memchr2(b'{', b'\n', &text[1..]).is_none() {
            self.state = State::Between { behind_object: false };
            return Progress::Starved;
        }
        match scanner.scan(&text[..text.len().min(BLOCK_SIZE)]) {
            // Two brackets are noise, unless they stand where an object does.
            Found::End(len) if scanner.key.is_empty() && text.len() == len && self.end.is_none() => {
                self.state = State::Object(Scanner::new());
                Progress::Starved
            }
            Found::End(len) if scanner.key.is_empty() && !text.get(len).is_none_or(|next| may_follow_object(*next)) => {
                self.damaged_from(1)
            }
            Found::End(len) => {
                self.hand_on_object(len, scanner.has_newline);
                self.start += len;
                self.go_on(State::Between { behind_object: true })
            }
            Found::Events(len) => {
                self.shape = Shape::Objects;
                self.envelope = Some(Envelope { is_control: scanner.is_control });
                self.start += len;
                self.go_on(State::Between { behind_object: false })
            }
            Found::More if is_long => {
                self.in_indentation = false;
                self.hand_on_part(scanner.at);
                self.go_on(State::LongObject(scanner.begun_before()))
            }
            Found::More if self.end.is_none() => {
                self.state = State::Object(scanner);
                Progress::Starved
            }
            Found::More | Found::Damage => {
                let first_line = &text[1..memchr(b'\n', text).unwrap_or(text.len())];
                if first_line.iter().all(|byte| is_blank(*byte)) && first_line.len() + 1 < text.len() {
                    // Nobody breaks a line there but to print prettily.
                    (self.shape, self.is_pretty) = (Shape::Objects, true);
                }
                self.damaged_from(1)
            }
        }
    }

    /// Makes a line of the object of that length.
    fn hand_on_object(&mut self, len: usize, has_newline: bool) {
        let object = &self.buffer[self.start..self.start + len];
        match self.envelope {
            Some(Envelope { is_control: true }) => {}
            Some(Envelope { is_control: false }) => match message(object) {
                Some(message) => append_message(&message, &mut self.ready),
                None => append_joined(object, &mut false, &mut self.ready),
            },
            None if has_newline => {
                (self.shape, self.is_pretty) = (Shape::Objects, true);
                append_joined(object, &mut false, &mut self.ready);
            }
            None => self.ready.extend_from_slice(object),
        }
        self.ready.push(b'\n');
    }

    /// Hands on the next bytes of a line.
    fn hand_on_part(&mut self, len: usize) {
        let part = &self.buffer[self.start..self.start + len];
        append_joined(part, &mut self.in_indentation, &mut self.ready);
        self.start += len;
    }

    /// Hands on the next bytes of what is no object, to the byte where a newline ends it.
    fn hand_on_damage(&mut self, len: usize) {
        if self.is_pretty {
            self.hand_on_part(len);
        } else {
            self.ready.extend_from_slice(&self.buffer[self.start..self.start + len]);
            self.start += len;
        }
    }

    fn long_object(&mut self, mut scanner: Scanner) -> Progress {
        match scanner.scan(self.text()) {
            Found::End(len) => {
                self.hand_on_part(len);
                self.ready.push(b'\n');
                self.go_on(State::Between { behind_object: true })
            }
            Found::Damage => {
                self.hand_on_part(scanner.at);
                self.is_damaged = true;
                self.go_on(State::Damage { len: 0, candidate: None })
            }
            // A list in it that is called as the events of an envelope are.
            Found::Events(len) => {
                self.hand_on_part(len - 1);
                self.go_on(State::LongObject(scanner.begun_before()))
            }
            Found::More => {
                // A backslash waits for what it escapes.
                let len = if self.end.is_some() { self.text().len() } else { scanner.at };
                self.hand_on_part(len);
                self.state = State::LongObject(scanner.begun_before());
                self.starved()
            }
        }
    }

    /// Hands on what is no object, up to where a whole one begins, or its line ends.
    fn damage(&mut self, mut len: usize, mut candidate: Option<Scanner>) -> Progress {
        loop {
            let text = self.text();
            if let Some(scanner) = &mut candidate {
                let object = &text[len..];
                match scanner.scan(&object[..object.len().min(BLOCK_SIZE)]) {
                    // Two brackets are more likely noise.
                    Found::End(_) | Found::Events(_) if !scanner.key.is_empty() => {
                        self.hand_on_damage(len);
                        self.ready.push(b'\n');
                        return self.go_on(State::Between { behind_object: false });
                    }
                    Found::More if object.len() < BLOCK_SIZE && self.end.is_none() => {
                        self.hand_on_damage(len);
                        self.state = State::Damage { len: 0, candidate };
                        return Progress::Starved;
                    }
                    _ => {
                        candidate = None;
                        len += 1;
                    }
                }
                continue;
            }
            let found = if self.is_pretty { memchr(b'{', &text[len..]) } else { memchr2(b'{', b'\n', &text[len..]) };
            match found.map(|at| (len + at, text[len + at])) {
                Some((at, b'{')) => {
                    len = at;
                    candidate = Some(Scanner::new());
                }
                Some((at, _)) => {
                    self.ready.extend_from_slice(&self.buffer[self.start..self.start + at + 1]);
                    self.start += at + 1;
                    return self.go_on(State::Between { behind_object: false });
                }
                None => {
                    let len = text.len();
                    self.hand_on_damage(len);
                    self.state = State::Damage { len: 0, candidate: None };
                    return self.starved();
                }
            }
        }
    }

    fn envelope_end(&mut self, mut scanner: Scanner) -> Progress {
        let text = self.text();
        let is_long = text.len() >= BLOCK_SIZE;
        match scanner.scan(&text[..text.len().min(BLOCK_SIZE)]) {
            Found::End(len) => {
                self.start += len;
                self.envelope = None;
                self.go_on(State::Between { behind_object: true })
            }
            Found::More if !is_long => {
                self.state = State::EnvelopeEnd(scanner);
                if self.end.is_some() {
                    self.check_that_all_is_closed();
                }
                self.starved()
            }
            Found::More | Found::Damage | Found::Events(_) => {
                self.envelope = None;
                self.damaged_from(0)
            }
        }
    }

    /// An array that is not closed has lost its end, and nobody knows how many objects with it.
    fn check_that_all_is_closed(&mut self) {
        let what = match self.envelope {
            Some(_) => "the envelope of CloudWatch Logs",
            None => "the JSON array",
        };
        let is_open = self.envelope.take().is_some() || std::mem::take(&mut self.open_arrays) > 0;
        if is_open && !self.is_damaged && matches!(self.end, Some(Ok(()))) {
            let text = format!("{what} is not closed: the end of the input is missing");
            self.end = Some(Err(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
        }
    }
}

impl<R: Read> Read for JsonLines<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let ready = &self.ready[self.ready_start..];
            if !ready.is_empty() {
                let len = ready.len().min(out.len());
                out[..len].copy_from_slice(&ready[..len]);
                self.ready_start += len;
                return Ok(len);
            }
            self.ready.clear();
            self.ready_start = 0;
            if self.untouched > 0 {
                let len = self.untouched.min(out.len());
                out[..len].copy_from_slice(&self.buffer[self.start..self.start + len]);
                self.start += len;
                self.untouched -= len;
                return Ok(len);
            }
            if matches!(self.state, State::Passing) && self.start == self.filled && self.end.is_none() {
                return self.input.read(out);
            }
            match self.advance() {
                Progress::Made => {}
                _ if !self.ready.is_empty() => {}
                Progress::Starved => self.fill()?,
                Progress::Done => return self.end.replace(Ok(())).unwrap_or(Ok(())).map(|()| 0),
            }
        }
    }
}

/// Whether an input that begins with these bytes is JSON; `None` when they are blanks and byte order
/// marks alone, the last of which may be cut off.
pub(super) fn begins_json(bytes: &[u8]) -> Option<bool> {
    match without_blanks(bytes) {
        [] => None,
        text if text.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(text) => None,
        text => Some(matches!(text, [b'{' | b'[', ..])),
    }
}

/// Whether the byte at that place belongs to a byte order mark; `None` when that is told by bytes
/// that are not there.
fn is_in_mark(text: &[u8], at: usize) -> Option<bool> {
    let begin = match text[at] {
        0xef => Some(at),
        0xbb => at.checked_sub(1),
        0xbf => at.checked_sub(2),
        _ => None,
    };
    let Some(begin) = begin else { return Some(false) };
    let bytes = &text[begin..text.len().min(begin + BYTE_ORDER_MARK.len())];
    match bytes.len() {
        len if len == BYTE_ORDER_MARK.len() => Some(bytes == BYTE_ORDER_MARK),
        _ if BYTE_ORDER_MARK.starts_with(bytes) => None,
        _ => Some(false),
    }
}

fn may_follow_object(byte: u8) -> bool {
    is_blank(byte) || matches!(byte, b'{' | b',' | b'[' | b']')
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Appends text without its newlines and the blanks behind them: what pretty printing adds. Text
/// may come in parts.
fn append_joined(mut text: &[u8], in_indentation: &mut bool, out: &mut Vec<u8>) {
    loop {
        if *in_indentation {
            let Some(len) = text.iter().position(|byte| !is_blank(*byte)) else { return };
            text = &text[len..];
            *in_indentation = false;
        }
        let Some(at) = memchr2(b'\n', b'\r', text) else { return out.extend_from_slice(text) };
        out.extend_from_slice(&text[..at]);
        text = &text[at..];
        *in_indentation = true;
    }
}

/// An event in an envelope of CloudWatch Logs.
#[derive(Deserialize)]
struct LogEvent<'a> {
    #[serde(borrow)]
    message: Cow<'a, str>,
}

/// The log line that the event carries.
fn message(event: &[u8]) -> Option<Cow<'_, str>> {
    serde_json::from_slice::<LogEvent<'_>>(event).ok().map(|event| event.message)
}

/// Appends a message as the one line that it is.
fn append_message(message: &str, out: &mut Vec<u8>) {
    let line = message.trim_end_matches(['\n', '\r']).bytes();
    out.extend(line.map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
}

/// What a [`Scanner`] has found.
enum Found {
    /// The object ends after that many bytes.
    End(usize),
    /// It is the envelope of CloudWatch Logs, whose events begin after that many bytes.
    Events(usize),
    /// It cannot go on like this.
    Damage,
    /// Its end is not there.
    More,
}

/// Follows an object to its end, and can go on when more of it is there. It knows what may follow
/// what, so that it does not take the objects behind a cut one for its values; what numbers and
/// escapes look like, it leaves to the parser.
#[derive(Clone)]
struct Scanner {
    /// How far it has come.
    at: usize,
    /// What is open: a bit for each, the innermost lowest, set for an object.
    open: u64,
    depth: u32,
    next: Next,
    in_string: bool,
    /// The object has a newline in it.
    has_newline: bool,
    /// Where the last key of the object itself stands, with its quotes.
    key: std::ops::Range<usize>,
    /// Its `messageType` is that of a message of CloudWatch's own.
    is_control: bool,
}

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Key,
    Colon,
    Value,
    /// More of a number or a word, or what may follow a value.
    Literal,
    /// A comma, or the end of what is open.
    Comma,
}

impl Scanner {
    /// At the beginning of an object.
    fn new() -> Scanner {
        Scanner {
            at: 0,
            open: 0,
            depth: 0,
            next: Next::Value,
            in_string: false,
            has_newline: false,
            key: 0..0,
            is_control: false,
        }
    }

    /// Behind a value of an object.
    fn behind_value() -> Scanner {
        Scanner { open: 1, depth: 1, next: Next::Comma, ..Scanner::new() }
    }

    /// The same place, where only what follows it is there.
    fn begun_before(self) -> Scanner {
        Scanner { at: 0, key: 0..0, ..self }
    }

    fn is_in_object(&self) -> bool {
        self.open & 1 == 1
    }

    /// `text` begins with the object; what was seen of it before is not looked at again.
    fn scan(&mut self, text: &[u8]) -> Found {
        while let Some(&byte) = text.get(self.at) {
            if self.in_string {
                let Some(len) = memchr3(b'"', b'\\', b'\n', &text[self.at..]) else {
                    self.at = text.len();
                    return Found::More;
                };
                self.at += len;
                match text[self.at..] {
                    [b'\\', b'\n', ..] | [b'\n', ..] => return Found::Damage,
                    [b'\\', _, ..] => self.at += 2,
                    [b'\\'] => return Found::More,
                    _ => {
                        self.at += 1;
                        self.in_string = false;
                        self.end_string(text);
                    }
                }
                continue;
            }
            let is_of_literal = byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
            if self.next == Next::Literal && !is_of_literal {
                self.next = Next::Comma;
            }
            match (byte, self.next) {
                (b' ' | b'\t' | b'\r', _) => {}
                (b'\n', _) => self.has_newline = true,
                (b'"', Next::Key | Next::Value) => {
                    if self.next == Next::Key && self.depth == 1 {
                        self.key.start = self.at;
                    }
                    self.in_string = true;
                }
                (b':', Next::Colon) => self.next = Next::Value,
                (b',', Next::Comma) => self.next = if self.is_in_object() { Next::Key } else { Next::Value },
                (b'{' | b'[', Next::Value) => {
                    if self.depth == MAX_DEPTH {
                        return Found::Damage;
                    }
                    let is_object = byte == b'{';
                    if !is_object && self.depth == 1 && text[self.key.clone()] == *b"\"logEvents\"" {
                        return Found::Events(self.at + 1);
                    }
                    self.open = self.open << 1 | u64::from(is_object);
                    self.depth += 1;
                    self.next = if is_object { Next::Key } else { Next::Value };
                }
                // A comma too many, or a value too few, are for the parser to find.
                (b'}', Next::Comma | Next::Key) | (b']', Next::Comma | Next::Value)
                    if self.is_in_object() == (byte == b'}') =>
                {
                    self.open >>= 1;
                    self.depth -= 1;
                    self.next = Next::Comma;
                    if self.depth == 0 {
                        return Found::End(self.at + 1);
                    }
                }
                (_, Next::Value | Next::Literal) if is_of_literal => self.next = Next::Literal,
                _ => return Found::Damage,
            }
            self.at += 1;
        }
        Found::More
    }

    /// A string ends before `at`: a key or a value.
    fn end_string(&mut self, text: &[u8]) {
        if self.next == Next::Key {
            if self.depth == 1 {
                self.key.end = self.at;
            }
            self.next = Next::Colon;
            return;
        }
        self.next = Next::Comma;
        if self.depth == 1 && text[self.key.clone()] == *b"\"messageType\"" {
            self.is_control = text[self.key.end..self.at].ends_with(b"\"CONTROL_MESSAGE\"");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// Gives the bytes in pieces of these lengths, over and over.
    struct Pieces<'a> {
        bytes: &'a [u8],
        lengths: &'a [usize],
        turn: usize,
    }

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.turn += 1;
            let len = self.lengths[self.turn % self.lengths.len()];
            if len == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let len = len.min(self.bytes.len()).min(buffer.len());
            buffer[..len].copy_from_slice(&self.bytes[..len]);
            self.bytes = &self.bytes[len..];
            Ok(len)
        }
    }

    /// What comes out, read into buffers of that size, and the error at the end.
    fn read_with(text: &[u8], lengths: &[usize], size: usize, format: Format) -> (Vec<u8>, Option<String>) {
        let mut reader = JsonLines::new(Pieces { bytes: text, lengths, turn: 0 }, format);
        let (mut out, mut buffer) = (Vec::new(), vec![0; size]);
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return (out, None),
                Ok(len) => out.extend_from_slice(&buffer[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    assert_eq!(reader.read(&mut buffer).ok(), Some(0), "the end stays the end");
                    return (out, Some(error.to_string()));
                }
            }
        }
    }

    #[track_caller]
    fn framed(text: &str) -> String {
        let (out, error) = read_with(text.as_bytes(), &[1 << 20], 1 << 20, Format::Auto);
        assert_eq!(error, None);
        String::from_utf8(out).unwrap()
    }

    #[track_caller]
    fn check(text: &str, wanted: &str) {
        assert_eq!(framed(text), wanted, "{text}");
        for (lengths, size) in [(&[1][..], 1), (&[2, 3], 5), (&[7], 1 << 20)] {
            let (out, _) = read_with(text.as_bytes(), lengths, size, Format::Auto);
            assert_eq!(String::from_utf8(out).unwrap(), wanted, "in pieces: {text}");
        }
    }

    #[test]
    fn one_object_a_line_passes_as_it_is() {
        for text in [
            "{\"a\": \"1\"}\n\n{\"a\":2}\r\n\r\n{\"a\":\"}\"}\n",
            "{\"a\":1}",
            "\n{\"a\":1}\n",
            "{\"a\":1}\n \t{\"b\":2}\n  {\"c\":[{\n",
            "1\t{\n[",
            "#Fields: {\n",
            "\n\n",
            "",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn objects_in_any_other_shape_become_lines() {
        for (text, wanted) in [
            ("{\"a\":1}{\"b\":2}", "{\"a\":1}\n{\"b\":2}\n"),
            ("{\"a\":1} {\"b\":\"}{\"} \n{\"c\":3}\n", "{\"a\":1}\n{\"b\":\"}{\"}\n{\"c\":3}\n"),
            ("{\n  \"a\": \"1 \\\" }\",\r\n  \"b\": 2\n}\n\n{\n}\n", "{\"a\": \"1 \\\" }\",\"b\": 2}\n{}\n"),
            ("[{\"a\":1},{\"b\":2}]", "{\"a\":1}\n{\"b\":2}\n"),
            ("[\n{\"a\":1},\n\n{\"b\":2},\n]\n", "{\"a\":1}\n{\"b\":2}\n"),
            ("[]", ""),
            ("[[{\"a\":[{}]}],[]] [{\"b\":{}}]", "{\"a\":[{}]}\n{\"b\":{}}\n"),
            ("{\"a\":{\"b\":1}}\n", "{\"a\":{\"b\":1}}\n"),
            ("{\"a\":1},\n{\"b\":2}\n", "{\"a\":1}\n{\"b\":2}\n"),
        ] {
            check(text, wanted);
        }
    }

    #[test]
    fn a_whole_object_does_not_wait_for_the_next() {
        let text = "{\"a\":1}";
        let mut reader =
            JsonLines::new(Pieces { bytes: text.as_bytes(), lengths: &[0, 8, 0, 0], turn: 0 }, Format::Auto);
        let mut out = [0; 64];
        let len = reader.read(&mut out).unwrap();
        assert_eq!(&out[..len], b"{\"a\":1}\n");
        assert_eq!(reader.read(&mut out).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn an_envelope_gives_its_messages() {
        let envelope = |kind: &str, events: &str| {
            format!(
                "{{\"messageType\":\"{kind}\",\"subscriptionFilters\":[\"f\"],\"logEvents\":{events},\"more\":{{}}}}"
            )
        };
        let events =
            r#"[{"id":"1","timestamp":1,"message":"{\"a\":\"\\\"x\"}"}, {"id":"2","message":"1.5\t-\u00e9\n"}]"#;
        let data = envelope("DATA_MESSAGE", events);
        let lines = "{\"a\":\"\\\"x\"}\n1.5\t-\u{e9}\n";
        check(&data, lines);
        check(&format!("{data}{data}\n{data}"), &lines.repeat(3));
        check(&format!("[\n{data},\n{data}]\n"), &lines.repeat(2));
        check(&format!("{}{data}", envelope("CONTROL_MESSAGE", "[{\"message\":\"CWL\"}]")), &format!("\n{lines}"));
        check(&envelope("DATA_MESSAGE", "[{\"id\":\"1\"}]"), "{\"id\":\"1\"}\n");
        check(&envelope("DATA_MESSAGE", "[]"), "");
        let pretty = serde_json::to_string_pretty(&serde_json::from_str::<Value>(&data).unwrap()).unwrap();
        check(&format!("{pretty}\n{pretty}\n"), &lines.repeat(2));
    }

    #[test]
    fn damage_costs_what_is_damaged() {
        for (text, wanted) in [
            // One object a line: in a string, behind a value, a comma, a colon, a bracket.
            ("{\"a\":\"1\n{\"b\":2}\n", "{\"a\":\"1\n{\"b\":2}\n"),
            ("{\"a\":1\n{\"b\":2}\n", "{\"a\":1\n{\"b\":2}\n"),
            ("{\"a\":1,\n{\"b\":2}\n", "{\"a\":1,\n{\"b\":2}\n"),
            ("{\"a\":\n{\"b\":2}\n{\"c\":3}\n", "{\"a\":\n{\"b\":2}\n{\"c\":3}\n"),
            ("{\"a\":\n{\"b\":2}\n", "{\"a\":\n{\"b\":2}\n"),
            ("{\"a\":[\n{\"b\":2}\n{\"c\":3}\n", "{\"a\":[\n{\"b\":2}\n{\"c\":3}\n"),
            ("{\n{\"b\":2}\n", "{\n{\"b\":2}\n"),
            ("{\"a\":\"1\n{\"b\":\"2\ngarbage\n{\"c\":3}\n", "{\"a\":\"1\n{\"b\":\"2\ngarbage\n{\"c\":3}\n"),
            ("{\"a\":1}\n[1,2]\n]\n,\n{\"b\":2}\n", "{\"a\":1}\n[1,2]\n]\n,\n{\"b\":2}\n"),
            // A torn write, and the next object on the same line.
            ("{\"a\":\"1{\"b\":2}\n{\"c\":3}\n", "{\"a\":\"1\n{\"b\":2}\n{\"c\":3}\n"),
            ("{\"a\"\r \n\tx\r {} \r\n{\"c\":3}\n", "{\"a\"\r \n\tx\r {} \r\n{\"c\":3}\n"),
            ("{\"a\":1}\n{}x{}\n{}\n", "{\"a\":1}\n{}x{}\n{}\n"),
            ("{\"a\":1}garbage\n{\"c\":3}\n", "{\"a\":1}\ngarbage\n{\"c\":3}\n"),
            ("{\"a\":\"1{\"b\":2}{\"c\":3}{\"d", "{\"a\":\"1\n{\"b\":2}\n{\"c\":3}\n{\"d"),
            ("{\"a\":{\"b\":2}{\"c\":3}", "{\"a\":\n{\"b\":2}\n{\"c\":3}\n"),
            // Arrays.
            ("[{\"a\":\"1},{\"b\":2}]", "{\"a\":\"1},\n{\"b\":2}\n"),
            ("[{\"a\":1},\n{\"b\":\"2\n{\"c\":3}]\n", "{\"a\":1}\n{\"b\":\"2\n{\"c\":3}\n"),
            // Pretty-printed: to the next whole object.
            ("{\n \"a\": \"1\n \"b\": 2\n}\n{\n \"c\": 3\n}\n", "{\"a\": \"1\"b\": 2}\n{\"c\": 3}\n"),
            ("[\n {\n  \"a\": 1\n {\n  \"b\": 2\n }\n]\n", "{\"a\": 1\n{\"b\": 2}\n"),
        ] {
            check(text, wanted);
        }
    }

    #[test]
    fn an_array_that_is_not_closed_is_an_error() {
        for text in ["[{\"a\":1}", "[", "[{\"a\":1},\n", "{\"logEvents\":[", "{\"logEvents\":[{\"message\":\"\"}],\"x"]
        {
            let (_, error) = read_with(text.as_bytes(), &[3], 64, Format::Auto);
            assert!(error.is_some_and(|error| error.contains("is not closed")), "{text}");
        }
        // There it may be what is damaged that had the bracket.
        assert_eq!(read_with(b"[{\"a\":1},{", &[3], 64, Format::Auto), (b"{\"a\":1}\n{".to_vec(), None));
    }

    #[test]
    fn an_object_longer_than_a_block_is_a_long_line() {
        for end in ["\n", "", "{\"b\":2}\n"] {
            for long in [
                format!("{{\"a\":\"{}\"}}", "x".repeat(2 * BLOCK_SIZE)),
                format!("{{\"a\":{}}}", "1".repeat(BLOCK_SIZE)),
                format!("{{\"a\":[{}0]}}", "\"\\\\\",".repeat(BLOCK_SIZE / 5)),
                format!("{{\"a\":\"{}", "x".repeat(BLOCK_SIZE)),
            ] {
                let text = format!("{{\"b\":2}}\n{long}{end}");
                // A cut one that was handed on ends at its newline only.
                let is_cut = !long.ends_with('}');
                for lengths in [&[1 << 18][..], &[1 << 20, 70_001]] {
                    let (out, error) = read_with(text.as_bytes(), lengths, 1 << 16, Format::Auto);
                    assert_eq!(error, None);
                    let newline = if is_cut || end == "\n" { "" } else { "\n" };
                    let wanted = format!("{{\"b\":2}}\n{long}{newline}{end}");
                    let at = out.iter().zip(wanted.as_bytes()).position(|(byte, wanted)| byte != wanted);
                    let lens = (out.len(), wanted.len());
                    assert!(out == wanted.as_bytes(), "{end:?} {} {lens:?} differ at {at:?}", &long[..20]);
                }
            }
        }
    }

    /// Objects of every kind of value, with what strings may hold at its worst.
    fn any_object() -> impl Strategy<Value = Vec<(String, Value)>> {
        let text = r#"([a-z0-9%]{0,12}|[\[\]{}:,"\\\n\t]|\}\{|é|\{"a":1\}){0,6}"#;
        let flat = prop_oneof![
            6 => text.prop_map(Value::from),
            1 => any::<i64>().prop_map(Value::from),
            1 => any::<bool>().prop_map(Value::from),
            1 => Just(Value::Null),
        ];
        let value = flat.prop_recursive(3, 12, 3, |inner| {
            let list = prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from);
            let map = prop::collection::btree_map("[a-c]", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect()));
            prop_oneof![list, map]
        });
        prop::collection::vec(("[a-d(){}]{1,3}", value), 0..4)
    }

    fn any_objects() -> impl Strategy<Value = Vec<Value>> {
        let object = any_object().prop_map(|pairs| Value::Object(pairs.into_iter().collect()));
        prop::collection::vec(object, 1..8)
    }

    fn any_lengths() -> impl Strategy<Value = Vec<usize>> {
        let lengths = prop::collection::vec(prop_oneof![Just(0_usize), 1..9_usize, 10..3_000_usize], 0..4);
        lengths.prop_map(|mut lengths| {
            lengths.push(1_000);
            lengths
        })
    }

    /// How objects are written one behind the other.
    #[derive(Clone, Copy, Debug)]
    enum Written {
        Lines,
        Joined,
        Pretty,
        Array,
        ArrayOfLines,
        PrettyArray,
        Envelope,
    }

    fn any_way() -> impl Strategy<Value = Written> {
        use Written::*;
        prop::sample::select(vec![Lines, Joined, Pretty, Array, ArrayOfLines, PrettyArray, Envelope])
    }

    /// The text of one of them.
    fn written_alone(object: &Value, way: Written) -> String {
        match way {
            Written::Pretty | Written::PrettyArray => serde_json::to_string_pretty(object).unwrap(),
            Written::Envelope => {
                serde_json::json!({ "id": "7", "timestamp": 1, "message": object.to_string() }).to_string()
            }
            _ => object.to_string(),
        }
    }

    fn joined(objects: &[String], way: Written) -> String {
        match way {
            Written::Lines | Written::Pretty => objects.iter().map(|object| format!("{object}\n")).collect(),
            Written::Joined => objects.concat(),
            Written::Array => format!("[{}]", objects.join(",")),
            Written::ArrayOfLines | Written::PrettyArray => format!("[\n{}\n]\n", objects.join(",\n")),
            Written::Envelope => {
                format!(r#"{{"messageType":"DATA_MESSAGE","logEvents":[{}],"owner":"1"}}"#, objects.join(","))
            }
        }
    }

    fn written(objects: &[Value], way: Written) -> String {
        joined(&objects.iter().map(|object| written_alone(object, way)).collect::<Vec<_>>(), way)
    }

    /// What serde_json finds in the text: objects one behind the other, or in arrays.
    fn objects_by_serde(text: &str) -> Vec<Value> {
        let values = serde_json::Deserializer::from_str(text).into_iter::<Value>().map(Result::unwrap);
        values
            .flat_map(|value| match value {
                Value::Array(objects) => objects,
                other => vec![other],
            })
            .collect()
    }

    fn objects_in_lines(lines: &[u8]) -> Vec<Value> {
        let lines = lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    proptest! {
        #[test]
        fn the_objects_are_those_that_serde_json_finds(
            objects in any_objects(),
            ways in prop::collection::vec(any_way(), 1..4),
            crlf in any::<bool>(),
            lengths in any_lengths(),
            size in 1..2_000_usize,
        ) {
            let mut text: String = ways.iter().map(|&way| written(&objects, way)).collect();
            if crlf {
                text = text.replace('\n', "\r\n");
            }
            let (lines, error) = read_with(text.as_bytes(), &lengths, size, Format::Json);
            prop_assert_eq!(error, None);
            if !ways.iter().any(|way| matches!(way, Written::Envelope)) {
                prop_assert_eq!(objects_in_lines(&lines), objects_by_serde(&text));
            }
            prop_assert_eq!(objects_in_lines(&lines), ways.iter().flat_map(|_| objects.clone()).collect::<Vec<_>>());
        }

        #[test]
        fn what_comes_out_does_not_depend_on_how_it_is_read(
            text in r#"([{}\[\],:"\\\n\r x1]|\{"a":"b"\}|"logEvents":\[|\{"message":"m"\}|"a":|\]\}){0,60}"#,
            mut lengths in any_lengths(),
            size in 1..200_usize,
        ) {
            lengths.retain(|&len| len > 0);
            let once = read_with(text.as_bytes(), &[1 << 20], 1 << 20, Format::Json);
            prop_assert_eq!(read_with(text.as_bytes(), &lengths, size, Format::Json), once);
        }

        #[test]
        fn every_object_that_is_whole_comes_out(
            count in 2..9_usize,
            way in any_way(),
            which in any::<prop::sample::Index>(),
            cut in any::<prop::sample::Index>(),
            lengths in any_lengths(),
        ) {
            let object = |number: usize| serde_json::json!({ "number": number, "text": "}{\"\\,", "more": "x" });
            let mut texts: Vec<String> = (0..count).map(|number| written_alone(&object(number), way)).collect();
            let which = which.index(count);
            let len = 1 + cut.index(texts[which].len() - 1);
            texts[which].truncate(len);
            let text = joined(&texts, way);
            let (lines, _) = read_with(text.as_bytes(), &lengths, 77, Format::Json);
            let found: Vec<Value> = lines
                .split(|&byte| byte == b'\n')
                .filter_map(|line| serde_json::from_slice(line).ok())
                .filter(|value: &Value| value["number"] != which)
                .collect();
            let wanted: Vec<Value> = (0..count).filter(|&number| number != which).map(object).collect();
            prop_assert_eq!(found, wanted, "{}\n{}", text, String::from_utf8_lossy(&lines));
        }
    }
}
