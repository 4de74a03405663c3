//! The load generator as a program of its own; `imfast bench` runs the same code.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let itself = std::env::current_exe().map(OsString::from);
    let command: Vec<OsString> = itself.into_iter().collect();
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    ExitCode::from(imfast_bench::run(&command, &arguments))
}
