//! What the program prints: JSON lines. Each has an `event`; the last one is the result.

use std::io::Write as _;

use serde_json::{Value, json};

/// Tells whoever started us how far we are; `fields` is an object.
pub(crate) fn event(name: &str, mut fields: Value) {
    fields["event"] = json!(name);
    line(&fields);
}

/// The one object that a run is about.
pub(crate) fn result(fields: &Value) {
    let mut fields = fields.clone();
    fields["event"] = json!("result");
    line(&fields);
}

/// Waits for a line, or the end, of standard input.
pub(crate) fn wait_for_input() {
    // Whatever comes, or an error: whoever started us wants us to go on.
    let _ = std::io::stdin().read_line(&mut String::new());
}

fn line(value: &Value) {
    let mut out = std::io::stdout().lock();
    // A reader that is gone shows in the exit of whoever reads.
    let _ = writeln!(out, "{value}");
    let _ = out.flush();
}
