//! What `strace -f -yy` has written down, and whether anybody was told of a message before the sync that covers it.
//!
//! A commit of the data file is: pages, a sync, the head that names them (it begins with `redb`), a sync. What a
//! power cut cannot take back is what stands in a page that a synced head names.

use std::collections::HashMap;

/// What the server is traced for. Whatever else writes would have to be added here.
pub const CALLS: &str = "trace=write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,sendmmsg,sendfile,splice,\
                         fsync,fdatasync,sync_file_range,msync,io_uring_enter";

/// One call: the lines on which it began and ended.
#[derive(Debug)]
struct Call<'a> {
    began: usize,
    /// None: the process was killed in it.
    ended: Option<usize>,
    kind: Kind,
    /// Its arguments as they were printed.
    text: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// To the data file.
    Page,
    Head,
    Sync,
    /// To a socket.
    Send,
}

/// A message that was acknowledged.
pub struct Published {
    /// Somewhere in its data, and nowhere else.
    pub marker: String,
    /// In every answer about it, and in its delivery.
    pub serial: String,
}

/// Everything that is wrong; each names its message.
pub fn violations(trace: &str, published: &[Published]) -> Vec<String> {
    let calls = calls(trace);
    let ended = |call: &&Call<'_>, before: usize| call.ended.is_some_and(|end| end < before);
    let judge = |Published { marker, serial }: &Published| {
        let sends = calls.iter().filter(|call| call.kind == Kind::Send);
        let told = sends.filter(|call| call.text.contains(serial)).map(|call| call.began);
        let Some(told) = told.min() else {
            return Some(format!("{marker}: no socket was told of {serial}"));
        };
        let mut at = 0;
        for (kind, what) in [
            (Kind::Page, "its page was written"),
            (Kind::Head, "a head that names its page was written"),
            (Kind::Sync, "that head was synced"),
        ] {
            let mut of_kind = calls.iter().filter(|call| call.kind == kind && call.began >= at);
            let is_it = |call: &&Call<'_>| ended(call, told) && (kind != Kind::Page || call.text.contains(&**marker));
            match of_kind.find(is_it).and_then(|call| call.ended) {
                Some(end) => at = end,
                None => return Some(format!("{marker}: told in line {told}, before {what}")),
            }
        }
        None
    };
    published.iter().filter_map(judge).collect()
}

fn calls(trace: &str) -> Vec<Call<'_>> {
    let mut calls: Vec<Call<'_>> = Vec::new();
    // By thread: the call that it is in.
    let mut open = HashMap::new();
    for (line, text) in trace.lines().enumerate() {
        let Some((thread, text)) = text.split_once(' ') else {
            continue;
        };
        let text = text.trim_start();
        if text.starts_with("<... ") {
            if let Some(place) = open.remove(thread) {
                let call: &mut Call<'_> = &mut calls[place];
                call.ended = Some(line);
            }
            continue;
        }
        let Some(kind) = kind(text) else { continue };
        let is_open = text.ends_with("<unfinished ...>");
        if is_open {
            open.insert(thread, calls.len());
        }
        calls.push(Call { began: line, ended: (!is_open).then_some(line), kind, text });
    }
    calls
}

fn kind(text: &str) -> Option<Kind> {
    let (call, rest) = text.split_once('(')?;
    // The descriptor comes first, and what it stands for in `<>`.
    let (_, rest) = rest.split_once('<')?;
    let is_socket = rest.starts_with("TCP") || rest.starts_with("socket:");
    let is_data = rest.split('>').next()?.ends_with("letshare.redb");
    match call {
        "fsync" | "fdatasync" if is_data => Some(Kind::Sync),
        // Of memory or of a part: no promise. It would be told as a missing sync.
        "msync" | "sync_file_range" => None,
        _ if is_socket => Some(Kind::Send),
        _ if is_data && rest.contains(">, \"redb") => Some(Kind::Head),
        _ if is_data => Some(Kind::Page),
        _ => None,
    }
}

/// In order, but for the call that is moved to another line.
#[test]
fn a_call_in_the_wrong_place_is_found() {
    const LINES: [&str; 7] = [
        r#"7 pwrite64(11</d/letshare.redb>, "\1 marker-1 \2", 4096, 8192) = 4096"#,
        "7 fdatasync(11</d/letshare.redb> <unfinished ...>",
        r#"8 write(1<pipe:[1]>, "a log line about 5@x", 5) = 5"#,
        "7 <... fdatasync resumed>) = 0",
        r#"7 pwrite64(11</d/letshare.redb>, "redb\32\n"..., 4096, 0) = 4096"#,
        "7 fdatasync(11</d/letshare.redb>) = 0",
        r#"8 sendto(19<TCP:[127.0.0.1:1->127.0.0.1:2]>, "serials 5@x", 5, MSG_NOSIGNAL, NULL, 0) = 5"#,
    ];
    let published = [Published { marker: "marker-1".into(), serial: "5@x".into() }];
    let check = |lines: &[&str]| violations(&lines.join("\n"), &published).len();
    assert_eq!(check(&LINES), 0);
    for place in 0..6 {
        let mut lines = LINES;
        lines[place..].rotate_right(1);
        assert_eq!(check(&lines), 1, "told in line {place}");
    }
    for gone in [0, 4, 5, 6] {
        let mut lines = LINES.to_vec();
        lines.remove(gone);
        assert_eq!(check(&lines), 1, "without line {gone}");
    }
    // Still in the sync when the answer leaves.
    let mut lines = LINES.to_vec();
    lines[5] = "7 fdatasync(11</d/letshare.redb> <unfinished ...>";
    lines.push("7 <... fdatasync resumed>) = 0");
    assert_eq!(check(&lines), 1);
}
