//! The commands: each file is one, and thin.

mod bar;
pub mod check;
pub mod console;
pub mod dead_letters;
pub mod demo;
pub mod explain;
pub mod health;
pub mod init;
pub mod preview;
pub mod run;
pub mod schema;
pub mod send;
pub mod stand_in;

use std::io::{BufRead as _, IsTerminal as _, Write as _, stderr, stdin};
use std::path::Path;

use crate::config::{Config, Mistakes, Needed};
use crate::model::text;

/// How a command ended: the process's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// Something outside could not be reached.
    Unreachable = 3,
}

/// Runs a command on a thread of its own, since the Kafka client's calls block.
async fn blocking(command: impl FnOnce() -> Result<Exit, Exit> + Send + 'static) -> Exit {
    match tokio::task::spawn_blocking(command).await {
        Ok(Ok(exit) | Err(exit)) => exit,
        Err(_) => fail(
            Exit::Failed,
            "a panic: please report this, it is a fault of this program",
        ),
    }
}

/// Whether there is somebody to ask.
fn can_ask() -> bool {
    stdin().is_terminal() && stderr().is_terminal()
}

/// Asks on standard error, and returns whether the answer is yes.
fn ask(question: &str) -> bool {
    let mut stderr = stderr();
    let _ = write!(stderr, "\n{question} [y/N] ");
    let _ = stderr.flush();
    let mut answer = String::new();
    let read = stdin().lock().read_line(&mut answer);
    read.is_ok() && ["y", "yes"].contains(&answer.trim().to_lowercase().as_str())
}

/// Says on standard error why the command ends so.
pub fn fail(exit: Exit, words: impl std::fmt::Display) -> Exit {
    warn(words);
    exit
}

/// Says something on standard error.
pub fn warn(words: impl std::fmt::Display) {
    note(format_args!("user-courier: {words}"));
}

/// Says something on standard error, beside the result.
fn note(words: impl std::fmt::Display) {
    tell(&mut std::io::stderr(), words);
}

/// Says something on standard output.
pub fn say(words: impl std::fmt::Display) {
    tell(&mut std::io::stdout(), words);
}

/// Says something, whatever came from outside in it fit to be seen. Whoever reads it may stop
/// reading, as `head` does: that is no failure.
fn tell(out: &mut impl std::io::Write, words: impl std::fmt::Display) {
    let _ = writeln!(out, "{}", text::printable(&words.to_string()));
}

/// Loads the configuration from file, environment and `--set`.
///
/// # Errors
/// The exit code, after every mistake was said.
pub fn load(file: &Path, set: &[String]) -> Result<Config, Exit> {
    load_with(Needed::All, file, set)
}

/// The same, for a command that needs only these of the secrets and certificates.
///
/// # Errors
/// The exit code, after every mistake was said.
fn load_with(needed: Needed, file: &Path, set: &[String]) -> Result<Config, Exit> {
    let flags = flags(set)?;
    Config::load_with(needed, file, environment(), &flags)
        .map_err(|mistakes| fail(Exit::Usage, mistakes))
}

/// Keys and values of `--set`.
type Flags = Vec<(String, String)>;

/// Reads `--set`.
///
/// # Errors
/// The exit code, after it was said which is none.
fn flags(set: &[String]) -> Result<Flags, Exit> {
    let pair = |setting: &String| match setting.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_owned(), value.to_owned())),
        None => Err(fail(
            Exit::Usage,
            format!("--set {setting}: write it as SECTION.KEY=VALUE"),
        )),
    };
    set.iter().map(pair).collect()
}

/// Reads the configuration, and says nothing.
fn read(file: &Path, flags: &[(String, String)]) -> Result<Config, Mistakes> {
    Config::load(file, environment(), flags)
}

fn environment() -> impl Iterator<Item = (String, String)> {
    // A variable that is not text cannot be one of ours, and must not end the process.
    std::env::vars_os().map(|(name, value)| {
        (
            name.to_string_lossy().into_owned(),
            value.to_string_lossy().into_owned(),
        )
    })
}
