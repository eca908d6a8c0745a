//! How this program is started, and how it asks for trouble.
//!
//! The arguments are the client addresses of three members. Lines on standard output ask for
//! something (`kill N`, `kill leader`, `start N`) or tell what is done; the answer to a request is
//! `done N` on standard input, when it has happened.

use std::io::{Write, stdin, stdout};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use etcd_client::{Client, ConnectOptions, Error};

/// How long an answer or an event may take on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A client of all members, which the library balances over.
pub async fn connect() -> Result<Client> {
    let members: Vec<String> = std::env::args().skip(1).collect();
    ensure!(members.len() == 3, "three addresses are expected");
    connect_to(&members).await
}

/// A client of one member.
pub async fn connect_one(number: usize) -> Result<Client> {
    let member = std::env::args().nth(number + 1).context("no such member")?;
    connect_to(&[member]).await
}

async fn connect_to(members: &[String]) -> Result<Client> {
    let options = ConnectOptions::new()
        .with_connect_timeout(Duration::from_secs(2))
        .with_keep_alive(Duration::from_secs(6), Duration::from_secs(3));
    Ok(Client::connect(members, Some(options)).await?)
}

/// Tells what is done.
pub fn tell(what: &str) {
    say(&format!("case {what}"));
}

/// Asks for something to happen and waits until it has.
pub async fn ask(what: &str) -> Result<usize> {
    say(what);
    let answer = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        stdin().read_line(&mut line).map(|_| line)
    });
    let line = answer.await.context("wait for an answer")?.context("read an answer")?;
    let number = line.trim().strip_prefix("done ").context("no answer")?;
    number.parse().context("number of a member")
}

fn say(line: &str) {
    let mut output = stdout().lock();
    // Who started this has gone when nobody listens; the answer will be missing then.
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

/// What a future gives, if it does in time.
pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(PATIENCE, work).await.with_context(|| format!("waited in vain for {what}"))
}

/// The answer is this refusal: code as a number, and text.
pub fn refused<T>(answer: Result<T, Error>, code: i32, text: &str) -> Result<()> {
    match answer {
        Err(Error::GRpcStatus(status)) => {
            let found = (status.code() as i32, status.message());
            ensure!(found == (code, text), "expected {code} {text:?}, found {found:?}");
            Ok(())
        }
        Err(error) => bail!("expected a refusal, found {error}"),
        Ok(_) => bail!("expected {text:?}, and it worked"),
    }
}
