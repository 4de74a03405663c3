//! The load generator: one thread and one epoll that open many connections to a running server,
//! work them in a scenario and print what arrived as JSON lines; [`result`] lists their fields.
//!
//! Rates count what was received, never what was sent. In an open loop (`--rate`) latency runs
//! from the time at which a message was to be sent, so that a stalled server, or a stalled
//! generator, cannot hide what it delayed; a generator that had no time left says `saturated`.

#![expect(
    clippy::cast_precision_loss,
    reason = "figures are read with three digits; counts and times stay far below 2^53"
)]

mod board;
mod connection;
mod failure;
mod latencies;
mod limits;
mod lines;
mod measure;
mod memory;
mod options;
mod pace;
mod poller;
mod pool;
mod processes;
mod result;
mod scenario;
mod tcp_info;
mod transport;

use std::ffi::OsString;

use failure::Failure;

/// Runs the program whose arguments, without its own name, are `arguments`; returns its exit
/// status. `command` starts this function again with further arguments: `--processes` needs it.
/// Results go to standard output, which has to be the caller's to give away.
pub fn run(command: &[OsString], arguments: &[OsString]) -> u8 {
    match play(command, arguments) {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(failure) => {
            eprintln!("imfast-bench: {failure}");
            1
        }
    }
}

/// Runs; false when the result says that something is wrong.
fn play(command: &[OsString], arguments: &[OsString]) -> Result<bool, Failure> {
    let Some(options) = options::parse(arguments.to_vec())? else {
        println!("{}", options::help());
        return Ok(true);
    };
    limits::allow_files()?;
    if options.share.is_some() {
        lines::event("share", transport::play(&options)?.to_share());
        return Ok(true);
    }
    let outcome = if options.processes > 1 {
        processes::play(&options, command, arguments)?
    } else {
        transport::play(&options)?
    };
    let line = result::line(&outcome, &options);
    let is_right = line.get("wrong") != Some(&true.into());
    lines::result(line);
    Ok(is_right)
}
