//! A run of several processes: this one starts itself again, holds all until everyone is ready,
//! and adds up what they counted.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use serde_json::{Value, json};

use crate::board::Board;
use crate::failure::Failure;
use crate::lines;
use crate::measure::now_ns;
use crate::options::Options;
use crate::result::Outcome;

/// Between the word to go and the start, so that everybody has heard it.
const LEAD_NS: u64 = 20_000_000;

/// What a process printed; none: it ended.
type Said = (usize, Option<Value>);

/// The processes of a run; those that are left are killed when it ends.
struct Processes {
    children: Vec<Child>,
    said: Receiver<Said>,
}

/// Runs `options.processes` times `command`, with `arguments` and the number of a share; returns
/// what all counted.
pub(crate) fn play(
    options: &Options,
    command: &[OsString],
    arguments: &[OsString],
) -> Result<Outcome, Failure> {
    let (_board, path) = Board::create(options.processes)?;
    let (said_to, said) = channel();
    let mut processes = Processes {
        children: Vec::new(),
        said,
    };
    let mut inputs = Vec::new();
    let Some((program, first)) = command.split_first() else {
        return Err(Failure::Said("no program to start again".into()));
    };
    for index in 0..options.processes {
        let mut child = Command::new(program)
            .args(first)
            .args(arguments)
            .args(["--share", &index.to_string()])
            .arg("--board")
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::Said(format!("{}: {error}", program.display())))?;
        inputs.extend(child.stdin.take());
        listen(index, &mut child, said_to.clone());
        processes.children.push(child);
    }
    let ready = processes.all("ready", |_| ())?;
    lines::event("ready", ready_together(&ready));
    if options.wait {
        lines::wait_for_input();
    }
    go(inputs)?;
    let mut seconds = Seconds::new(options.processes);
    let shares = processes.all("share", |said| seconds.hear(said))?;
    let mut outcome = Outcome::default();
    for (index, share) in shares.iter().enumerate() {
        let share = Outcome::from_share(share)?;
        if index == 0 {
            outcome = share;
        } else {
            outcome.merge(share)?;
        }
    }
    Ok(outcome)
}

/// Passes on the lines of a process, and its end.
fn listen(index: usize, child: &mut Child, to: Sender<Said>) {
    let output = child.stdout.take();
    thread::spawn(move || {
        let lines = output
            .map(BufReader::new)
            .into_iter()
            .flat_map(BufRead::lines);
        for line in lines.map_while(Result::ok) {
            if let Ok(value) = serde_json::from_str(&line) {
                // Nobody listens any more when a run has failed.
                let _ = to.send((index, Some(value)));
            }
        }
        let _ = to.send((index, None));
    });
}

/// Lets everybody start at one time. Their input ends when ours does.
fn go(mut inputs: Vec<ChildStdin>) -> Result<(), Failure> {
    let start_ns = now_ns() + LEAD_NS;
    for input in &mut inputs {
        writeln!(input, "go {start_ns}")
            .map_err(|error| Failure::Said(format!("a process is gone: {error}")))?;
    }
    thread::spawn(move || {
        lines::wait_for_input();
        drop(inputs);
    });
    Ok(())
}

impl Processes {
    /// Waits for a line with this event of everybody; other lines go to `other`.
    fn all(&self, event: &str, mut other: impl FnMut(&Said)) -> Result<Vec<Value>, Failure> {
        let mut all: Vec<Option<Value>> = self.children.iter().map(|_| None).collect();
        while all.iter().any(Option::is_none) {
            let said = self.said.recv();
            let said = said.map_err(|_| Failure::Said("all processes ended".into()))?;
            match said {
                (index, Some(value)) if value["event"] == event => all[index] = Some(value),
                (index, None) if all[index].is_none() => {
                    return Err(Failure::Said(format!("process {index} failed")));
                }
                said => other(&said),
            }
        }
        Ok(all.into_iter().flatten().collect())
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in &mut self.children {
            // One that has ended already is only waited for.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn ready_together(ready: &[Value]) -> Value {
    let mut all = Outcome::default();
    let mut seconds = 0.0f64;
    let mut elsewhere = 0;
    for one in ready {
        all.connections += one["connections"].as_u64().unwrap_or_default();
        elsewhere += one["elsewhere"].as_u64().unwrap_or_default();
        seconds = seconds.max(one["seconds"].as_f64().unwrap_or_default());
        for (server, count) in one["servers"].as_object().into_iter().flatten() {
            *all.servers.entry(server.clone()).or_default() += count.as_u64().unwrap_or_default();
        }
    }
    json!({
        "connections": all.connections,
        "seconds": seconds,
        "elsewhere": elsewhere,
        "servers": all.servers,
    })
}

/// Adds up the progress of all processes.
struct Seconds(Vec<Option<Value>>);

impl Seconds {
    fn new(processes: usize) -> Self {
        Self(vec![None; processes])
    }

    /// Prints a second once everybody has told of it.
    fn hear(&mut self, (index, said): &Said) {
        let Some(said) = said.as_ref().filter(|said| said["event"] == "progress") else {
            return;
        };
        self.0[*index] = Some(said.clone());
        if self.0.iter().any(Option::is_none) {
            return;
        }
        let sum = |name: &str| {
            let all = self.0.iter().flatten().filter_map(|one| one[name].as_f64());
            all.sum::<f64>()
        };
        let fields = json!({
            "seconds": said["seconds"],
            "received": sum("received") as u64,
            "per_second": sum("per_second"),
            "connections": sum("connections") as u64,
        });
        lines::event("progress", fields);
        self.0.fill(None);
    }
}
