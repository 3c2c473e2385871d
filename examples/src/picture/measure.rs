//! Lengths: of time, of text, and what goes where without overlapping.

/// An axis longer than this counts in minutes and seconds.
const MINUTES_FROM: u64 = 180_000;

/// Milliseconds to positions.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    pub(super) from_ms: u64,
    pub(super) to_ms: u64,
    pub(super) left: f64,
    pub(super) width: f64,
}

impl Scale {
    /// Where a time is, at the nearer end if it is beyond the plot.
    pub(super) fn x(&self, at_ms: u64) -> f64 {
        let at = at_ms.clamp(self.from_ms, self.to_ms) - self.from_ms;
        self.left + self.width * at as f64 / self.length_ms() as f64
    }

    pub(super) fn right(&self) -> f64 {
        self.left + self.width
    }

    pub(super) const fn contains(&self, at_ms: u64) -> bool {
        self.from_ms <= at_ms && at_ms <= self.to_ms
    }

    const fn length_ms(&self) -> u64 {
        let length = self.to_ms.saturating_sub(self.from_ms);
        if length == 0 { 1 } else { length }
    }

    /// A time since the begin, as precise as is of use; in minutes where the axis is.
    pub(super) fn time_text(&self, at_ms: u64) -> String {
        let ms = at_ms.saturating_sub(self.from_ms);
        if self.length_ms() > MINUTES_FROM {
            format!("{}:{:02}.{}", ms / 60_000, ms / 1000 % 60, ms % 1000 / 100)
        } else {
            format!("{}.{:02} s", ms / 1000, ms % 1000 / 10)
        }
    }

    /// The times of ticks and the texts on them: round numbers, at least `room` apart.
    pub(super) fn ticks(&self, room: f64) -> Vec<(u64, String)> {
        const STEPS: [u64; 16] = [
            10, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000,
            600_000, 1_800_000,
        ];
        let length = self.length_ms();
        let fits = |step: &&u64| self.width * **step as f64 / length as f64 >= room;
        let step = STEPS.iter().find(fits).copied().unwrap_or(3_600_000);
        (0..)
            .map(|n| n * step)
            .take_while(|at| *at <= length)
            .map(|at| (self.from_ms + at, tick_text(at, step, length)))
            .collect()
    }
}

fn tick_text(at: u64, step: u64, length: u64) -> String {
    if length > MINUTES_FROM {
        return format!("{}:{:02}", at / 60_000, at / 1000 % 60);
    }
    match step {
        0..100 => format!("{:.2} s", at as f64 / 1000.0),
        100..1000 => format!("{:.1} s", at as f64 / 1000.0),
        _ => format!("{} s", at / 1000),
    }
}

/// How long a text is at a font size: a little more than it is in wide fonts such as DejaVu Sans, since which font a
/// viewer takes is not known.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    let letter = |letter: char| match letter {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | ' ' => 0.34,
        'f' | 't' | 'r' | '(' | ')' | '[' | ']' | '-' | '/' => 0.43,
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 1.0,
        'A'..='Z' => 0.75,
        '0'..='9' => 0.64,
        _ => 0.65,
    };
    text.chars().map(letter).sum::<f64>() * size
}

/// The text, or as much of its begin as fits.
pub(super) fn shorten(text: &str, size: f64, room: f64) -> String {
    if text_width(text, size) <= room {
        return text.to_owned();
    }
    let mut short: String = text.to_owned();
    while !short.is_empty() && text_width(&short, size) + size > room {
        short.pop();
    }
    format!("{}…", short.trim_end())
}

/// Puts intervals, which are in the order of their begins, into as few rows as they need without overlapping.
pub(super) fn rows(intervals: &[(f64, f64)]) -> Vec<usize> {
    let mut ends: Vec<f64> = Vec::new();
    let mut rows = Vec::with_capacity(intervals.len());
    for (from, to) in intervals {
        match ends.iter().position(|end| *end <= *from) {
            Some(row) => {
                ends[row] = *to;
                rows.push(row);
            }
            None => {
                rows.push(ends.len());
                ends.push(*to);
            }
        }
    }
    rows
}

/// The longest part of `from` to `to` that keeps `clear` away from each of the `points`.
pub(super) fn widest_gap(from: f64, to: f64, points: &[f64], clear: f64) -> (f64, f64) {
    let mut edges: Vec<f64> = points
        .iter()
        .copied()
        .filter(|point| from - clear < *point && *point < to + clear)
        .collect();
    edges.sort_by(f64::total_cmp);
    let mut best = (from, from);
    let mut begin = from;
    for end in edges.iter().map(|edge| edge - clear).chain([to]) {
        if end - begin > best.1 - best.0 {
            best = (begin, end);
        }
        begin = begin.max(end + 2.0 * clear);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(to_ms: u64) -> Scale {
        Scale {
            from_ms: 500,
            to_ms: 500 + to_ms,
            left: 100.0,
            width: 1000.0,
        }
    }

    #[test]
    fn ticks_are_round_and_have_room() {
        for (length, first, second, last) in [
            (500, "0.00 s", "0.05 s", "0.50 s"),
            (10_000, "0 s", "1 s", "10 s"),
            (61_000, "0 s", "5 s", "60 s"),
            (600_000, "0:00", "1:00", "10:00"),
        ] {
            let ticks = scale(length).ticks(60.0);
            let texts: Vec<&str> = ticks.iter().map(|(_, text)| text.as_str()).collect();
            assert_eq!(
                (texts[0], texts[1], texts[texts.len() - 1]),
                (first, second, last),
                "{texts:?}"
            );
            assert!(ticks.len() < 18);
        }
    }

    #[test]
    fn a_chart_of_no_length_has_an_axis() {
        let scale = scale(0);
        assert!(scale.x(500).is_finite());
        assert_eq!(scale.ticks(60.0).len(), 1);
    }

    #[test]
    fn what_overlaps_goes_to_another_row() {
        assert_eq!(
            rows(&[(0.0, 10.0), (5.0, 15.0), (10.0, 20.0), (12.0, 22.0)]),
            [0, 1, 0, 2]
        );
    }

    #[test]
    fn text_keeps_clear_of_marks() {
        assert_eq!(widest_gap(0.0, 100.0, &[], 5.0), (0.0, 100.0));
        assert_eq!(widest_gap(0.0, 100.0, &[30.0], 5.0), (35.0, 100.0));
        assert_eq!(widest_gap(0.0, 100.0, &[90.0, 10.0, 12.0], 5.0), (17.0, 85.0));
        let (from, to) = widest_gap(0.0, 8.0, &[4.0], 5.0);
        assert!(to - from <= 0.0);
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        assert_eq!(shorten("short", 10.0, 100.0), "short");
        let cut = shorten("a text that is too long for its place", 10.0, 100.0);
        assert!(cut.ends_with('…') && text_width(&cut, 10.0) <= 100.0, "{cut}");
    }
}
