//! A timeline for people, or the same as one JSON object a line.
//!
//! Things that happen to several routers at about the same time are one line with several names: a group of thirty that
//! takes a key is one thing and not thirty.

use std::io::Write;

use karp_core::time::{Duration, Instant};
use serde_json::{Map, Value, json};

/// How long a line waits for more routers to which the same happens.
const GATHER: Duration = Duration::from_millis(80);

/// How lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Style {
    /// Text.
    #[default]
    Plain,
    /// Text with colours, for terminals.
    Coloured,
    /// One JSON object a line.
    Json,
}

/// What kind of line it is: its colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tone {
    /// A heading.
    Heading,
    /// What the demonstration does.
    Act,
    /// What the group does.
    Event,
    /// A message on the wire.
    Wire,
    /// Something good came to pass.
    Good,
    /// Something bad did.
    Bad,
}

impl Tone {
    const fn code(self) -> &'static str {
        match self {
            Self::Heading => "1",
            Self::Act => "1;36",
            Self::Event => "0",
            Self::Wire => "2",
            Self::Good => "32",
            Self::Bad => "1;31",
        }
    }
}

struct Gathered {
    first: Instant,
    last: Instant,
    tone: Tone,
    event: &'static str,
    text: String,
    fields: Map<String, Value>,
    routers: Vec<String>,
}

/// Writes lines with the time since its start.
pub struct Timeline {
    style: Style,
    start: Instant,
    out: Box<dyn Write + Send>,
    gathered: Vec<Gathered>,
}

impl Timeline {
    /// A timeline that begins at `start` and goes to `out`. What cannot be written is lost: a reader who went away does
    /// not end the program.
    #[must_use]
    pub fn new(style: Style, start: Instant, out: Box<dyn Write + Send>) -> Self {
        Self {
            style,
            start,
            out,
            gathered: Vec::new(),
        }
    }

    /// Milliseconds from the start to `now`.
    #[must_use]
    pub const fn elapsed_ms(&self, now: Instant) -> u64 {
        now.since(self.start).as_millis()
    }

    /// Whether lines are JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.style == Style::Json
    }

    /// A line of its own. Lines that were still gathering come first.
    pub fn say(&mut self, now: Instant, tone: Tone, event: &str, text: &str, fields: Value) {
        self.flush();
        self.write(now, tone, event, text, object(fields));
    }

    /// Something that happened to `router`; lines with the same event and text become one.
    pub fn gather(
        &mut self,
        now: Instant,
        tone: Tone,
        event: &'static str,
        router: &str,
        text: String,
        fields: Value,
    ) {
        let same = |line: &&mut Gathered| line.event == event && line.text == text;
        if let Some(line) = self.gathered.iter_mut().find(same) {
            line.last = now;
            line.routers.push(router.to_owned());
            return;
        }
        self.gathered.push(Gathered {
            first: now,
            last: now,
            tone,
            event,
            text,
            fields: object(fields),
            routers: vec![router.to_owned()],
        });
    }

    /// Writes the lines that have gathered long enough.
    pub fn tick(&mut self, now: Instant) {
        while let Some(line) = self.gathered.first() {
            if now.since(line.first) < GATHER {
                return;
            }
            let line = self.gathered.remove(0);
            self.write_gathered(line);
        }
    }

    /// Writes every line that is still gathering.
    pub fn flush(&mut self) {
        for line in std::mem::take(&mut self.gathered) {
            self.write_gathered(line);
        }
    }

    /// A line without time, as it is: for tables. Nothing in JSON.
    pub fn plain(&mut self, text: &str) {
        self.flush();
        if !self.is_json() {
            let _ = writeln!(self.out, "{text}");
        }
    }

    /// A JSON object as a line of its own. Nothing in text.
    pub fn object(&mut self, object: &Value) {
        self.flush();
        if self.is_json() {
            let _ = writeln!(self.out, "{object}");
        }
    }

    fn write_gathered(&mut self, line: Gathered) {
        let Gathered {
            first,
            last,
            tone,
            event,
            text,
            mut fields,
            routers,
        } = line;
        let mut names: Vec<&str> = Vec::new();
        for router in &routers {
            if !names.contains(&router.as_str()) {
                names.push(router);
            }
        }
        let times = match routers.len().checked_div(names.len()) {
            Some(n) if n > 1 && names.len() == 1 => format!(" ({n} times)"),
            _ => String::new(),
        };
        let spread = last.since(first).as_millis();
        let within = match spread {
            0 => String::new(),
            ms => format!(" within {ms} ms"),
        };
        let text = format!("{:<11} {text}{times}{within}", shorten(&names));
        fields.insert("routers".to_owned(), json!(names));
        fields.insert("times".to_owned(), json!(routers.len()));
        fields.insert("spread_ms".to_owned(), json!(spread));
        self.write(first, tone, event, &text, fields);
    }

    fn write(&mut self, at: Instant, tone: Tone, event: &str, text: &str, fields: Map<String, Value>) {
        let ms = self.elapsed_ms(at);
        // Whoever reads may have gone.
        let _ = match self.style {
            Style::Json => {
                let mut line = Map::new();
                line.insert("event".to_owned(), json!(event));
                line.insert("t_ms".to_owned(), json!(ms));
                line.extend(fields);
                writeln!(self.out, "{}", Value::Object(line))
            }
            Style::Plain => writeln!(self.out, "{}  {text}", seconds(ms)),
            Style::Coloured => {
                writeln!(
                    self.out,
                    "\x1b[2m{}\x1b[0m  \x1b[{}m{text}\x1b[0m",
                    seconds(ms),
                    tone.code()
                )
            }
        };
        let _ = self.out.flush();
    }
}

fn seconds(ms: u64) -> String {
    format!("{:>3}.{:03}", ms / 1000, ms % 1000)
}

fn object(fields: Value) -> Map<String, Value> {
    match fields {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// At most three names, then how many more.
fn shorten(names: &[&str]) -> String {
    match names {
        [a, b, c, rest @ ..] if !rest.is_empty() => format!("{a} {b} {c} +{}", rest.len()),
        _ => names.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(octets);
            Ok(octets.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    fn lines(style: Style, work: impl FnOnce(&mut Timeline)) -> Vec<String> {
        let sink = Sink::default();
        let mut timeline = Timeline::new(style, at(1000), Box::new(sink.clone()));
        work(&mut timeline);
        drop(timeline);
        let octets = sink.0.lock().unwrap().clone();
        String::from_utf8(octets)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    fn take(timeline: &mut Timeline, ms: u64, router: &str) {
        let fields = json!({"key": 7});
        timeline.gather(
            at(ms),
            Tone::Event,
            "installed",
            router,
            "key 7".to_owned(),
            fields,
        );
    }

    #[test]
    fn the_same_of_several_routers_is_one_line() {
        let lines = lines(Style::Plain, |timeline| {
            take(timeline, 1100, "r1");
            take(timeline, 1120, "r2");
            timeline.tick(at(1179));
            take(timeline, 1179, "r3");
            timeline.tick(at(1180));
            take(timeline, 1260, "r4");
            timeline.flush();
        });
        assert_eq!(
            lines,
            [
                "  0.100  r1 r2 r3    key 7 within 79 ms",
                "  0.260  r4          key 7"
            ]
        );
    }

    #[test]
    fn json_has_event_and_time() {
        let lines = lines(Style::Json, |timeline| {
            take(timeline, 1100, "r1");
            timeline.say(at(1200), Tone::Act, "step", "a step", json!({"name": "x"}));
            timeline.plain("not shown");
        });
        let values: Vec<Value> = lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(values[0]["event"], "installed");
        assert_eq!(values[0]["routers"], json!(["r1"]));
        assert_eq!(
            (&values[1]["event"], &values[1]["t_ms"]),
            (&json!("step"), &json!(200))
        );
        assert_eq!(values.len(), 2);
    }
}
