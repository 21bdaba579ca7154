//! A client that reads server-sent events as the standard says.

use crate::{
    ably_comet::Lines,
    ably_realtime::stage::{EVERYTHING, Stage},
};

#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    pub id: Option<String>,
    pub kind: String,
    pub data: String,
}

pub struct Events {
    lines: Lines,
    /// What ids begin with.
    pub connection: String,
    /// The last id, also of a block without an event.
    pub last: String,
}

impl Events {
    /// The path and query by which the key that may do everything asks for a stream.
    pub fn target(stage: &Stage, path: &str, query: &str) -> String {
        format!("{path}?{}&{query}", stage.query(EVERYTHING))
    }

    /// A stream of `/sse` with this query besides the key; where it is has been told.
    pub async fn open(stage: &Stage, query: &str) -> Self {
        Self::at(stage, &Self::target(stage, "/sse", query), "").await
    }

    pub async fn at(stage: &Stage, target: &str, headers: &str) -> Self {
        let lines = Lines::open(stage.server.address, target, headers).await;
        assert!(lines.head.starts_with("HTTP/1.1 200"), "{}", lines.head);
        for header in
            ["content-type: text/event-stream\r\n", "cache-control: no-cache\r\n", "x-accel-buffering: no\r\n"]
        {
            assert!(lines.head.contains(header), "{}", lines.head);
        }
        Self { lines, connection: String::new(), last: String::new() }
    }

    /// Lines up to an empty one; none: the stream has ended.
    pub async fn block(&mut self) -> Option<String> {
        let mut block = String::new();
        loop {
            let line = self.lines.line().await;
            match line {
                None => {
                    assert_eq!(block, "", "the last event is whole");
                    return None;
                }
                Some(line) if line.is_empty() => return Some(self.note(block)),
                Some(line) => {
                    block += &line;
                    block.push('\n');
                }
            }
        }
    }

    fn note(&mut self, block: String) -> String {
        if let Some(id) = block.lines().find_map(|line| line.strip_prefix("id: ")) {
            id.clone_into(&mut self.last);
            id.split_once(':').expect("a connection and positions").0.clone_into(&mut self.connection);
        }
        block
    }

    /// The next event; a block without one is passed over.
    pub async fn next(&mut self) -> Event {
        loop {
            let block = self.block().await.expect("the stream goes on");
            let all = |name: &str| {
                let values = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                values.map(|value| value.strip_prefix(' ').unwrap_or(value)).collect::<Vec<_>>()
            };
            if all("data").is_empty() {
                continue;
            }
            return Event {
                id: all("id").first().map(|id| (*id).to_owned()),
                kind: all("event").concat(),
                data: all("data").join("\n"),
            };
        }
    }

    /// Waits for the position that the stream begins with.
    pub async fn begun(mut self) -> Self {
        while self.last.is_empty() {
            self.block().await.expect("the stream goes on");
        }
        self
    }
}
