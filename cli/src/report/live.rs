//! `report --live`: the report on a terminal while the log goes on, drawn anew once a second.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use indicatif::HumanCount as Count;
use pixel_engine::observe::Observed;
use pixel_engine::progress::Progress;
use pixel_engine::report::document::{Advertising, Blog, Shop, Table as Names};
use pixel_engine::report::{Beacons, Document, Lines, View, document};
use ratatui::DefaultTerminal;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Sparkline, Table};

use super::text::{cut, plain};

/// How often the screen is drawn.
const EVERY: Duration = Duration::from_secs(1);
/// The tables that can be looked at behind those of what the report is for, two at a time.
const TABLES: [&str; 10] =
    ["pages", "referrers", "events", "campaigns", "countries", "browsers", "devices", "statuses", "results", "bots"];

/// Does the work of a run on a thread of its own, and shows what it has counted until it has ended and
/// somebody presses `q`. Pressing it earlier stops the run.
pub(super) fn of_run<T: Send>(
    beacons: &Observed<Beacons>,
    progress: &Progress,
    view: &View,
    stop: &AtomicBool,
    work: impl FnOnce() -> T + Send,
) -> io::Result<T> {
    if !io::stdout().is_terminal() {
        return Err(io::Error::other("--live draws on a terminal, and standard output is none"));
    }
    let mut terminal = ratatui::try_init()?;
    let shown = thread::scope(|scope| {
        let run = scope.spawn(work);
        let shown = show(&mut terminal, beacons, progress, view, stop, || run.is_finished());
        // Whatever ended it, the run must not go on for ever.
        stop.store(true, Ordering::Relaxed);
        let done = run.join().unwrap_or_else(|panic| {
            ratatui::restore();
            std::panic::resume_unwind(panic)
        });
        shown.map(|()| done)
    });
    ratatui::restore();
    shown
}

fn show(
    terminal: &mut DefaultTerminal,
    beacons: &Observed<Beacons>,
    progress: &Progress,
    view: &View,
    stop: &AtomicBool,
    has_ended: impl Fn() -> bool,
) -> io::Result<()> {
    let mut screen = Screen::default();
    let mut last = None::<(Instant, u64)>;
    loop {
        let ended = has_ended();
        let observer = beacons.observer();
        let state = observer.snapshot(beacons.take()).with_lines(lines(progress));
        let document = Document::new(&state, observer.agents(), view);
        let (now, counted) = (Instant::now(), document.lines.counted);
        if let Some((then, before)) = last {
            screen.speeds.push(((counted - before) as f64 / now.duration_since(then).as_secs_f64()).round() as u64);
        }
        last = Some((now, counted));
        screen.ended = ended;
        loop {
            terminal.draw(|frame| draw(frame, &document, &screen))?;
            let left = EVERY.saturating_sub(now.elapsed());
            // A second without a key is time for new numbers; a key only moves what is shown.
            if stop.load(Ordering::Relaxed) && !ended {
                return Ok(());
            }
            if left.is_zero() || !event::poll(left)? {
                break;
            }
            match event::read()? {
                Event::Key(key) if ends(&key) => return Ok(()),
                Event::Key(KeyEvent { code, kind: KeyEventKind::Press, .. }) => screen.press(code),
                _ => {}
            }
        }
    }
}

/// What became of lines so far.
fn lines(progress: &Progress) -> Lines {
    let (lines_in, filtered) = (progress.lines_in.get(), progress.lines_filtered.get());
    let counted = progress.lines_packed.get();
    Lines { lines_in, counted, filtered, ..Lines::default() }
}

fn ends(key: &KeyEvent) -> bool {
    let is_interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (is_interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}

/// What is shown beside the document.
#[derive(Default)]
struct Screen {
    /// Lines a second, by the second.
    speeds: Vec<u64>,
    /// How many tables were gone to the right.
    table: i64,
    /// Whether the log has ended.
    ended: bool,
}

impl Screen {
    fn press(&mut self, code: KeyCode) {
        match code {
            KeyCode::Right | KeyCode::Tab | KeyCode::Char('l') => self.table += 1,
            KeyCode::Left | KeyCode::BackTab | KeyCode::Char('h') => self.table -= 1,
            _ => {}
        }
    }
}

const FAINT: Style = Style::new().fg(Color::DarkGray);
const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);

fn draw(frame: &mut Frame<'_>, report: &Document, screen: &Screen) {
    let [head, speeds, tables, below, foot] = Layout::vertical([
        Constraint::Length(5),
        Constraint::Length(5),
        Constraint::Min(6),
        Constraint::Length(9),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(headline(report), head);
    let speed = screen.speeds.last().copied().unwrap_or_default();
    let width = usize::from(speeds.width.saturating_sub(2));
    let from = screen.speeds.len().saturating_sub(width);
    let title = format!(" lines a second: {} ", Count(speed));
    frame.render_widget(
        Sparkline::default().block(framed(title)).data(&screen.speeds[from..]).style(Style::new().fg(Color::Cyan)),
        speeds,
    );
    let halves = Layout::horizontal([Constraint::Percentage(50); 2]).areas::<2>(tables);
    let panels = panels(report);
    for (place, area) in (0..).zip(halves) {
        let panel = &panels[(screen.table + place).rem_euclid(panels.len() as i64) as usize];
        frame.render_widget(panel.draw(area), area);
    }
    let [abnormal, recent] = Layout::horizontal([Constraint::Percentage(50); 2]).areas(below);
    frame.render_widget(of_abnormal(report), abnormal);
    frame.render_widget(of_recent(report, recent), recent);
    let state = if screen.ended { "the log has ended" } else { "once a second" };
    frame.render_widget(Line::styled(format!(" ← → other tables   q quit   {state}"), FAINT), foot);
}

fn framed<'a>(title: impl Into<Line<'a>>) -> Block<'a> {
    Block::default().borders(Borders::ALL).border_style(FAINT).title(title)
}

fn headline(report: &Document) -> Paragraph<'static> {
    let (beacons, visitors, sessions, lines) = (&report.beacons, &report.visitors, &report.sessions, &report.lines);
    let number = |count: u64| Span::styled(Count(count).to_string(), STRONG);
    let error = if visitors.is_exact { String::new() } else { format!(" ± {:.2} %", visitors.error_percent) };
    let bad = lines.lines_in.saturating_sub(lines.counted + lines.filtered);
    let span = match (&report.first, &report.last) {
        (Some(first), Some(last)) => format!("{first} to {last} ({})", report.time_zone),
        _ => "no beacon yet".to_owned(),
    };
    Paragraph::new(vec![
        Line::from(vec![number(beacons.beacons), " beacons, ".into(), number(beacons.bots), " from known bots".into()]),
        Line::from(vec![
            number(visitors.people),
            format!("{error} visitors, ").into(),
            number(sessions.sessions),
            format!(" sessions, {:.1} beacons each", sessions.mean_beacons).into(),
        ]),
        Line::from(vec![
            number(lines.lines_in),
            format!(" lines in, {} of them bad or on their way, {} filtered", Count(bad), Count(lines.filtered)).into(),
        ]),
    ])
    .block(framed(format!(" {span} ")))
}

/// A table of the screen.
struct Panel {
    title: String,
    /// A name, a number, and what there is to say of it.
    rows: Vec<(String, u64, String)>,
    /// What has no name.
    without: u64,
}

/// All that can be looked at: what the report is for comes first.
fn panels(report: &Document) -> Vec<Panel> {
    let uses = [
        report.advertising.as_ref().map(of_advertising),
        report.shop.as_ref().map(of_shop),
        report.blog.as_ref().map(of_blog),
    ];
    let tables = TABLES.iter().filter_map(|name| report.table(name)).map(of_names);
    uses.into_iter().flatten().chain(tables).collect()
}

fn of_names(names: &Names) -> Panel {
    let title = if names.error > 0 { format!("{} ± {}", names.title, names.error) } else { names.title.to_owned() };
    let row = |of: &document::Row| (of.name.clone(), of.beacons, format!("{:.1} %", of.percent));
    Panel { title, rows: names.rows.iter().map(row).collect(), without: names.without }
}

fn of_advertising(advertising: &Advertising) -> Panel {
    let or_none = |name: &Option<String>| name.clone().unwrap_or_else(|| "(none)".to_owned());
    let rows = advertising.rows.iter().map(|row| {
        let clicks = row.counts.click_percent.map_or(String::new(), |percent| format!("{percent:.2} %"));
        (format!("{} at {}", or_none(&row.campaign), or_none(&row.publisher)), row.counts.impressions.net, clicks)
    });
    let all = &advertising.total.impressions;
    let title = format!("Impressions: {} net of {} gross; clicks %", Count(all.net), Count(all.gross));
    Panel { title, rows: rows.collect(), without: 0 }
}

fn of_shop(shop: &Shop) -> Panel {
    let rows = shop.products.iter().map(|row| {
        let revenue = row.counts.revenue.iter().map(|sum| sum.amount.clone()).collect::<Vec<_>>().join(" ");
        (row.product.clone().unwrap_or_else(|| "(none)".to_owned()), row.counts.paid, revenue)
    });
    let carts = shop.abandoned_carts.as_ref().map(|carts| format!("; {:.1} % of carts left", carts.percent));
    let title = format!("Orders: {}{}", Count(shop.total.paid), carts.unwrap_or_default());
    Panel { title, rows: rows.collect(), without: 0 }
}

fn of_blog(blog: &Blog) -> Panel {
    let row = |of: &document::Share| (of.name.clone(), of.beacons, format!("{:.1} %", of.percent));
    let title = format!("Topics; {:.1} % mobile", blog.mobile_percent);
    Panel { title, rows: blog.topics.rows.iter().map(row).collect(), without: 0 }
}

impl Panel {
    fn draw(&self, area: Rect) -> Table<'_> {
        let columns = usize::from(area.width).saturating_sub(30).max(8);
        let right = |text: String| Cell::from(Line::from(text).right_aligned());
        let row = |name: &str, count: u64, note: &str| {
            Row::new([Cell::from(cut(name, columns)), right(Count(count).to_string()), right(plain(note))])
        };
        let rows = self.rows.iter().map(move |(name, count, note)| row(name, *count, note));
        let none = (self.without > 0).then(|| row("(none)", self.without, "").style(FAINT));
        let widths = [Constraint::Min(8), Constraint::Length(13), Constraint::Length(12)];
        Table::new(rows.chain(none), widths).block(framed(format!(" {} ", self.title)))
    }
}

fn of_abnormal(report: &Document) -> Table<'static> {
    let broken = report.abnormal.rules.iter().filter(|rule| rule.count > 0);
    let rows = broken.map(|rule| {
        Row::new([Cell::from(Line::from(Count(rule.count).to_string()).right_aligned()), Cell::from(rule.name)])
    });
    Table::new(rows, [Constraint::Length(13), Constraint::Min(8)]).block(framed(" Abnormal "))
}

fn of_recent(report: &Document, area: Rect) -> Paragraph<'static> {
    let columns = usize::from(area.width).saturating_sub(26).max(8);
    let line = |event: &document::Event| {
        let time = event.time.as_deref().and_then(|time| time.get(11..19)).unwrap_or("-").to_owned();
        Line::from(vec![
            Span::styled(format!("{time} "), FAINT),
            format!("{:10} {:3} {}", cut(&event.event, 10), plain(&event.status), cut(&event.page, columns)).into(),
        ])
    };
    Paragraph::new(report.recent.iter().map(line).collect::<Vec<_>>()).block(framed(" Recent "))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pixel_engine::agents::Agents;
    use pixel_engine::config::Settings;
    use pixel_engine::quarantine::Quarantine;
    use pixel_engine::report::{self, AdvertisingSettings, AgentReader, ShopSettings};
    use pixel_engine::run::Run;
    use pixel_engine::sink::null::Null;
    use pixel_engine::source::{Closed, Feed, Source};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    struct Sample;

    impl Source for Sample {
        fn read(self: Box<Self>, feed: Feed<'_>) -> Result<(), Closed> {
            let mut inlet = feed.open("sample");
            for second in 10..30 {
                inlet.push(format!(
                    "17676000{second}.5\t203.0.113.{second}\tMozilla/5.0%20(X11)%20Firefox/140.0\te=view&url=https%253A%252F%252Fa.example%252F\n"
                ))?;
            }
            inlet.end()?;
            Ok(())
        }
    }

    fn drawn(screen: &Screen, width: u16, height: u16) -> String {
        drawn_with(report::Settings::default(), &View::default(), screen, width, height)
    }

    fn drawn_with(settings: report::Settings, view: &View, screen: &Screen, width: u16, height: u16) -> String {
        let agents = Arc::new(AgentReader::new(Agents::new()));
        let beacons = Arc::new(Observed::new(Beacons::new(settings.validate().unwrap(), agents)));
        let config = Settings::default().validate().unwrap();
        let (mut sink, mut quarantine) = (Null::new(config.api()), Quarantine::new("/dev/null"));
        let run = Run::new(&config).source(Sample).observer(beacons.clone()).to(&mut sink, &mut quarantine);
        let observer = beacons.observer();
        let state = observer.snapshot(beacons.take()).with_lines(Lines::of_run(&run));
        let document = Document::new(&state, observer.agents(), view);
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &document, screen)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn the_screen_shows_what_is_counted() {
        let screen = Screen { speeds: vec![1, 5, 20], ..Screen::default() };
        let text = drawn(&screen, 100, 30);
        for part in [
            "20 beacons, 0 from known bots",
            "20 visitors, 20 sessions, 1.0 beacons each",
            "lines a second: 20",
            "Pages",
            "a.example/",
            "Referrers",
            "(direct)",
            "Recent",
            "view",
            "q quit",
            "once a second",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn keys_move_through_the_tables_in_both_directions() {
        let mut screen = Screen::default();
        screen.press(KeyCode::Left);
        assert!(drawn(&screen, 100, 30).contains("Bots"));
        screen.press(KeyCode::Tab);
        screen.press(KeyCode::Right);
        let text = drawn(&screen, 100, 30);
        assert!(text.contains("Referrers") && text.contains("Events") && !text.contains("Pages"), "{text}");
    }

    #[test]
    fn what_a_report_is_for_comes_first() {
        let settings = || report::Settings {
            advertising: Some(AdvertisingSettings {
                events: Some("impression=view".to_owned()),
                ..AdvertisingSettings::default()
            }),
            shop: Some(ShopSettings { events: Some("paid=view,view=look".to_owned()), ..ShopSettings::default() }),
            ..report::Settings::default()
        };
        let view = View { blog: true, ..View::default() };
        let text = drawn_with(settings(), &view, &Screen::default(), 120, 30);
        for part in ["Impressions: 20 net of 20 gross", "(none) at (none)", "Orders: 20", "a.example/"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let text = drawn_with(settings(), &view, &Screen { table: 2, ..Screen::default() }, 120, 30);
        assert!(text.contains("Topics; 0.0 % mobile") && text.contains("(front page)"), "{text}");
        assert!(text.contains("Pages"), "{text}");
    }

    #[test]
    fn a_small_terminal_is_no_fault() {
        for (width, height) in [(80, 24), (20, 5), (1, 1)] {
            drawn(&Screen { ended: true, ..Screen::default() }, width, height);
        }
    }
}
