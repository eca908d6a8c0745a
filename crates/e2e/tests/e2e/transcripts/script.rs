//! The scripts' form: `$ v3@0 put key 'a value'`, then lines of input beginning with `<`.
//!
//! `v2` and `v3` choose the API, `@0` one endpoint in place of all three; `$~` repeats a command until
//! it succeeds. `% kill 2` ends a member by SIGKILL before the next command. In single quotes `\n`
//! stands for a new line. `! text (reason)` after a command: the answers must differ, and ours has
//! the text. `#` begins a comment.
//!
//! `$& name v3 watch key` starts a command that runs beside the following ones, its input kept open.
//! With it: `% until name text` waits until its output has the text; `% say name words` writes a line
//! to its input; `% end name text` waits for the text and ends it; `% wait name` waits until it ends by
//! itself, `% wait name v2 set key value` repeating that command until then. What it has written is
//! compared when it has ended. So no command depends on how soon a watch is registered: it names the
//! revision or index to begin with (`{revision}`, `{index}`: the last one), or is waited for.
//!
//! Other placeholders: `{id0}`, `{client0}`, `{peer0}` of a member, `{spare}` and `{added}` of one that
//! is added, `{lease}` of the lease granted last.

use e2e::Api;

/// Whether a command that fails is run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    No,
    UntilSuccess,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Runs a command to its end.
    Run,
    /// Starts a command of this name.
    Start(String),
    /// Waits for an output.
    Until(String, String),
    /// Writes a line.
    Say(String, String),
    /// Waits for an output, and ends the command.
    End(String, String),
    /// Waits for the end, with a command repeated if there are words.
    Wait(String),
}

/// One step of a script.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// As written, for reports.
    pub(super) line: String,
    pub(super) action: Action,
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
        if let Some(command) = line.strip_prefix("$& ") {
            let (name, command) = command.split_once(' ').expect("a name and a command");
            let mut step = step(command, Repeat::No, std::mem::take(&mut kills));
            step.action = Action::Start(name.to_owned());
            steps.push(step);
        } else if let Some(command) = line.strip_prefix("$~ ") {
            steps.push(step(command, Repeat::UntilSuccess, std::mem::take(&mut kills)));
        } else if let Some(command) = line.strip_prefix("$ ") {
            steps.push(step(command, Repeat::No, std::mem::take(&mut kills)));
        } else if let Some(number) = line.strip_prefix("% kill ") {
            kills.push(number.parse().expect("a member's number"));
        } else if let Some(rest) = line.strip_prefix("% ") {
            steps.push(beside(rest));
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

/// A step that deals with a command that was started.
fn beside(line: &str) -> Step {
    let mut parts = line.splitn(3, ' ');
    let mut part = || parts.next().unwrap_or_default().to_owned();
    let (verb, name, rest) = (part(), part(), part());
    let text = words(&rest).join(" ");
    let action = match verb.as_str() {
        "until" => Action::Until(name, text),
        "say" => Action::Say(name, text),
        "end" => Action::End(name, text),
        "wait" => Action::Wait(name),
        other => panic!("not understood: % {other}"),
    };
    let has_command = matches!(action, Action::Wait(_)) && !rest.is_empty();
    let mut step = step(if has_command { &rest } else { "v3" }, Repeat::No, Vec::new());
    step.line = format!("% {line}");
    step.action = action;
    step
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
    let action = Action::Run;
    Step { line, action, api, member, words, input, repeat, kills, accepted: None }
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
