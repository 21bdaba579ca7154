//! The data folder in the hands of an operator: one process at a time, and `data check` and the start find damage.

use std::{
    fs::OpenOptions,
    os::unix::fs::FileExt as _,
    process::{Command, Output},
};

use super::ground::{Ground, Rest};

const MESSAGES: u64 = 200;

/// The same binary in the same folder.
fn run(ground: &Ground, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_letshare-server"));
    let command = command.current_dir(ground.path()).env_clear().args(arguments);
    command.output().expect("the program runs")
}

/// What was written to stderr, and that the exit code is 1.
fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).expect("text")
}

#[tokio::test]
async fn a_second_process_is_refused_by_the_name_of_the_first() {
    let ground = Ground::new();
    let server = ground.start();
    let holder = format!("in use by process {};", server.id());
    let second = ground.try_start(&[], &[]).err().expect("one at a time");
    assert!(second.contains(&holder), "{second}");
    for command in [["data", "check"], ["data", "compact"]] {
        let refused = refused(&run(&ground, &command));
        assert!(refused.contains(&holder), "{refused}");
    }
    // The first one has not suffered.
    let mut rest = Rest::connect(server.address).await;
    rest.publish_numbers("persisted:room", 0..1).await;
    assert_eq!(rest.history("persisted:room").await.len(), 1);
    server.kill().await;
    // A lock ends with its process, whatever is written in the file.
    ground.start();
}

#[tokio::test]
async fn check_tells_a_good_folder_from_a_damaged_one() {
    let ground = Ground::new();
    let nothing = refused(&run(&ground, &["data", "check"]));
    assert!(nothing.contains("there is no data file"), "{nothing}");
    let server = ground.start();
    let mut rest = Rest::connect(server.address).await;
    rest.publish_numbers("persisted:room", 0..MESSAGES).await;
    // Not closed in order: nothing is wrong with that.
    server.kill().await;
    is_whole(&ground);
    let server = ground.start();
    assert_eq!(Rest::connect(server.address).await.history("persisted:room").await.len(), 200);
    server.terminate().await;
    is_whole(&ground);
    let compacted = run(&ground, &["data", "compact"]);
    assert!(compacted.status.success(), "{compacted:?}");
    is_whole(&ground);

    // One bit of one message.
    let path = ground.path().join("data/letshare.redb");
    let data = std::fs::read(&path).expect("a data file");
    let marker = br#"persisted:room"#;
    let place = data.windows(marker.len()).position(|window| window == marker);
    let place = place.expect("it stands in the file");
    let file = OpenOptions::new().write(true).open(&path).expect("our file");
    file.write_all_at(&[data[place] ^ 1], place as u64).expect("our file");
    let damaged = refused(&run(&ground, &["data", "check"]));
    assert!(damaged.contains("is damaged"), "{damaged}");
    assert!(damaged.contains("letshare.redb"), "{damaged}");
    assert!(damaged.contains("backup"), "{damaged}");
    let start = ground.try_start(&[], &[]).err().expect("damage is not served");
    assert!(start.contains("is damaged"), "{start}");
    assert!(start.contains("data check"), "{start}");
    // Cut short: the seal of the orderly end tells.
    file.set_len(data.len() as u64 / 2).expect("our file");
    let cut = refused(&run(&ground, &["data", "check"]));
    assert!(cut.contains("was changed since the server closed it"), "{cut}");
    assert!(ground.try_start(&[], &[]).is_err());
}

fn is_whole(ground: &Ground) {
    let checked = run(ground, &["data", "check"]);
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{checked:?}");
    assert!(said.contains("is whole: 1 channel with 200 entries"), "{said}");
}
