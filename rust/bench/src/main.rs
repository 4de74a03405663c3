//! The load generator: one thread and one epoll that open many connections to a running server,
//! work them in a scenario and print what arrived as one JSON object.
//!
//! Rates count what was received, never what was sent. In an open loop (`--rate`) latency runs
//! from the time at which a message was to be sent, so that a stalled server, or a stalled
//! generator, cannot hide what it delayed; a generator that had no time left says `saturated`.

#![expect(
    clippy::cast_precision_loss,
    reason = "figures are read with three digits; counts and times stay far below 2^53"
)]

mod connection;
mod failure;
mod lines;
mod measure;
mod options;
mod pace;
mod poller;
mod pool;
mod scenario;
mod tcp_info;
mod transport;

use std::process::ExitCode;

use failure::Failure;
use options::{Options, TransportName};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("imfast-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let Some(options) = options::from_arguments()? else {
        println!("{}", options::HELP);
        return Ok(());
    };
    match options.transport {
        TransportName::WebSocketJson => play(transport::WebSocketJson, &options),
        TransportName::WebSocketProto => play(transport::WebSocketProto, &options),
        TransportName::Tcp => play(transport::Tcp, &options),
    }
}

fn play(transport: impl transport::Transport, options: &Options) -> Result<(), Failure> {
    lines::result(&scenario::run(transport, options)?);
    Ok(())
}
