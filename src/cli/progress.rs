//! How far something long is: a line with a bar and the time left on a terminal, a line of JSON every few seconds elsewhere.

use std::{
    io::{self, IsTerminal as _, Write},
    time::Duration,
};

use serde_json::json;

/// A terminal is written to this often, a log that seldom.
const REDRAWN: Duration = Duration::from_millis(100);
const TOLD: Duration = Duration::from_secs(5);
const BAR: usize = 24;

/// How what is done is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people, on a terminal.
    Bar,
    /// JSON, one value a line.
    Lines,
}

/// See the module.
pub struct Progress {
    form: Form,
    step: String,
    total: u64,
    started: Duration,
    last: Duration,
    is_drawn: bool,
}

impl Form {
    /// By what stderr of this process is.
    pub fn of_process() -> Self {
        if io::stderr().is_terminal() { Self::Bar } else { Self::Lines }
    }
}

impl Progress {
    /// `now` is the clock's uptime; `total` in the unit in which it will be told what is done.
    pub fn new(form: Form, step: impl Into<String>, total: u64, now: Duration) -> Self {
        Self { form, step: step.into(), total, started: now, last: now, is_drawn: false }
    }

    /// Tells how far it is, if it is time for that; `note` is for people.
    pub fn tell(&mut self, done: u64, note: &str, now: Duration, err: &mut dyn Write) {
        let wait = if self.form == Form::Bar { REDRAWN } else { TOLD };
        if now.saturating_sub(self.last) < wait {
            return;
        }
        self.last = now;
        // The last percent is that of the end itself.
        let share = (done as f64 / self.total.max(1) as f64).clamp(0.0, 0.99);
        let left = (share > 0.0).then(|| now.saturating_sub(self.started).mul_f64((1.0 - share) / share));
        let percent = (share * 100.0) as u64;
        // Whoever does not read stderr is not kept waiting for it, and nothing else is wrong.
        let _ = match self.form {
            Form::Lines => {
                let left = left.map(|left| left.as_secs());
                let step = &self.step;
                writeln!(err, "{}", json!({"step": step, "percent": percent, "seconds_left": left, "note": note}))
            }
            Form::Bar => {
                self.is_drawn = true;
                let full = (share * BAR as f64) as usize;
                let bar = format!("{}{}", "#".repeat(full), ".".repeat(BAR - full));
                let left = left.map_or_else(String::new, |left| format!("{} left", clock_face(left)));
                let drawn = write!(err, "\r{} [{bar}] {percent:>2} %  {left}  {note}\x1b[K", self.step);
                drawn.and_then(|()| err.flush())
            }
        };
    }

    /// Takes the bar off the terminal, before anything else is written there.
    pub fn clear(&mut self, err: &mut dyn Write) {
        if std::mem::take(&mut self.is_drawn) {
            let _ = write!(err, "\r\x1b[K");
        }
    }
}

fn clock_face(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
        (0, minutes, seconds) => format!("{minutes}:{seconds:02}"),
        (hours, minutes, seconds) => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn told(form: Form, moments: &[(u64, u64)]) -> String {
        let mut progress = Progress::new(form, "messages", 200, Duration::ZERO);
        let mut err = Vec::new();
        for (done, millis) in moments {
            progress.tell(*done, "5 rows", Duration::from_millis(*millis), &mut err);
        }
        progress.clear(&mut err);
        String::from_utf8(err).unwrap()
    }

    #[test]
    fn a_terminal_has_a_bar_with_the_time_left() {
        let text = told(Form::Bar, &[(1, 50), (50, 30_000), (51, 30_001)]);
        assert_eq!(text, "\rmessages [######..................] 25 %  1:30 left  5 rows\x1b[K\r\x1b[K");
    }

    #[test]
    fn anything_else_has_lines_of_json() {
        let text = told(Form::Lines, &[(1, 4_999), (50, 5_000), (60, 9_000), (500, 10_000)]);
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0], json!({"step": "messages", "percent": 25, "seconds_left": 15, "note": "5 rows"}));
        // More than was thought to be there.
        assert_eq!(lines[1]["percent"], 99);
    }
}
