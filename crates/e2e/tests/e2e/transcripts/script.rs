//! The scripts' form: `$ v3@0 put key 'a value'`, then lines of input beginning with `<`.
//!
//! `v2` and `v3` choose the API, `@0` one endpoint in place of all three; `$~` repeats a command until
//! it succeeds. `% kill 2` ends a member by SIGKILL before the next command. In single quotes `\n`
//! stands for a new line. `! text (reason)` after a command: the answers must differ, and ours has
//! the text on stderr. `#` begins a comment.

use e2e::Api;

/// Whether a command that fails is run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    No,
    UntilSuccess,
}

/// One command of a script.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// As written, for reports.
    pub(super) line: String,
    pub(super) api: Api,
    pub(super) member: Option<usize>,
    pub(super) words: Vec<String>,
    pub(super) input: String,
    pub(super) repeat: Repeat,
    /// Members killed before it.
    pub(super) kills: Vec<usize>,
    /// What our answer says where it differs from that of 3.4.23 for a good reason.
    pub(super) accepted: Option<String>,
}

/// Reads a script; a mistake in one fails the test.
pub(super) fn parse(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut kills = Vec::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$~ ") {
            steps.push(step(command, Repeat::UntilSuccess, std::mem::take(&mut kills)));
        } else if let Some(command) = line.strip_prefix("$ ") {
            steps.push(step(command, Repeat::No, std::mem::take(&mut kills)));
        } else if let Some(number) = line.strip_prefix("% kill ") {
            kills.push(number.parse().expect("a member's number"));
        } else if let Some(input) = line.strip_prefix('<') {
            let step = steps.last_mut().expect("input follows a command");
            step.input.push_str(input.strip_prefix(' ').unwrap_or(input));
            step.input.push('\n');
        } else if let Some(difference) = line.strip_prefix("! ") {
            let step = steps.last_mut().expect("a difference follows a command");
            step.accepted = Some(reasoned(difference));
        } else {
            assert!(line.is_empty() || line.starts_with('#'), "not understood: {line}");
        }
    }
    steps
}

/// The text without the reason, which has to be there.
fn reasoned(difference: &str) -> String {
    let (text, reason) = difference.split_once(" (").expect("a difference has a reason");
    assert!(reason.ends_with(')'), "{difference}");
    text.to_owned()
}

fn step(command: &str, repeat: Repeat, kills: Vec<usize>) -> Step {
    let mut words = words(command).into_iter();
    let first = words.next().expect("a command begins with the API");
    let (api, member) = match first.split_once('@') {
        Some((api, member)) => (api.to_owned(), Some(member.parse().expect("a member's number"))),
        None => (first, None),
    };
    let api = match api.as_str() {
        "v2" => Api::V2,
        "v3" => Api::V3,
        other => panic!("no such API: {other}"),
    };
    let words = words.collect();
    let (line, input) = (command.to_owned(), String::new());
    Step { line, api, member, words, input, repeat, kills, accepted: None }
}

fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut is_quoted = false;
    for letter in text.chars() {
        match letter {
            '\'' => {
                is_quoted = !is_quoted;
                word.get_or_insert_default();
            }
            ' ' if !is_quoted => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    assert!(!is_quoted, "quote not closed: {text}");
    words.extend(word);
    words.into_iter().map(|word| word.replace("\\n", "\n")).collect()
}
