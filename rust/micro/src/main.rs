//! The hot paths, one by one, for counting their instructions.
//!
//! ```text
//! cargo build --release -p imfast-micro
//! valgrind --tool=callgrind --collect-atstart=no target/release/imfast-micro
//! ```
//!
//! Each case leaves one dump that bears its name and says how many operations it did.
//! `tools/guard` runs this, reads the dumps and compares them with the parent revision's. What
//! varies from run to run has no place here: no clock, no random numbers, no threads.

mod callgrind;
mod cases;

use callgrind::counted;
use cases::{client_frames, fan_out, partition, routes, send_queue, server_frames, websocket};

fn main() {
    if !callgrind::is_valgrind() {
        eprintln!("imfast-micro: outside of valgrind nothing is counted");
    }
    // What counting itself costs: the guard takes it off every other case.
    counted("nothing", 1, || {});
    websocket::run();
    client_frames::run();
    server_frames::run();
    partition::run();
    routes::run();
    send_queue::run();
    fan_out::run();
}
