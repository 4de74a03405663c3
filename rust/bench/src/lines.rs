//! What the program prints: JSON lines. Each has an `event`; the last one is the result.

use std::io::{BufRead as _, Write as _};

use serde_json::{Map, Value, json};

/// Tells whoever started us how far we are; `fields` is an object.
pub(crate) fn event(name: &str, mut fields: Value) {
    fields["event"] = json!(name);
    line(&fields);
}

/// The one object that a run is about.
pub(crate) fn result(fields: Map<String, Value>) {
    event("result", Value::Object(fields));
}

/// Waits for a line of standard input; none at its end.
pub(crate) fn wait_for_input() -> Option<String> {
    let mut line = String::new();
    // An error is an end too: whoever started us wants us to go on.
    let bytes = std::io::stdin().lock().read_line(&mut line).unwrap_or(0);
    (bytes > 0).then_some(line)
}

fn line(value: &Value) {
    let mut out = std::io::stdout().lock();
    // A reader that is gone shows in the exit of whoever reads.
    let _ = writeln!(out, "{value}");
    let _ = out.flush();
}
