//! What the generator must not hide: a server that stalls, and itself when it is too slow.

mod fake;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use fake::{Stall, serve};
use serde_json::Value;

const STALL: Stall = Stall {
    after: Duration::from_millis(700),
    length: Duration::from_millis(400),
};

fn direct(name: &str, port: u16, arguments: &[&str]) -> Value {
    let tokens = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&tokens, "ann ann\nbob bob\ncat cat\ndan dan\n").expect("a writable directory");
    let done = Command::new(env!("CARGO_BIN_EXE_imfast-bench"))
        .args(["direct", "--transport", "tcp", "--port", &port.to_string()])
        .args(["--warmup", "0.2", "--seconds", "1.5", "--progress"])
        .arg("--tokens")
        .arg(tokens)
        .args(arguments)
        .output()
        .expect("the generator");
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{error}");
    let output = String::from_utf8_lossy(&done.stdout);
    serde_json::from_str(output.lines().last().expect("a result")).expect("JSON")
}

fn milliseconds(result: &Value, quantile: &str) -> f64 {
    result["latency"][quantile].as_f64().expect("a number") / 1e3
}

#[test]
fn an_open_loop_shows_a_stall_in_its_quantiles() {
    let result = direct("open", serve(Some(STALL)), &["--rate", "500"]);
    // The stall covers a quarter of the measured time; half of those messages wait over 200 ms.
    assert!(milliseconds(&result, "p99_us") > 200.0, "{result}");
    assert_eq!(
        (result["lost"].as_i64(), result["surplus"].as_i64()),
        (Some(0), Some(0))
    );
}

#[test]
fn a_closed_loop_does_not_show_it_which_is_why_latency_is_measured_in_open_loop() {
    let result = direct("closed", serve(Some(STALL)), &["--window", "1"]);
    assert!(milliseconds(&result, "max_us") > 200.0, "{result}");
    assert!(milliseconds(&result, "p90_us") < 200.0, "{result}");
}

#[test]
fn every_message_of_a_closed_loop_is_counted_once() {
    for write in ["each", "batch"] {
        let result = direct(write, serve(None), &["--window", "8", "--write", write]);
        assert!(result["messages"].as_u64() > Some(0), "{result}");
        for nothing in ["lost", "surplus", "unanswered", "own_unseen", "failed"] {
            assert_eq!(result[nothing].as_i64(), Some(0), "{nothing}: {result}");
        }
    }
}

#[test]
fn a_generator_that_cannot_keep_its_rate_says_that_it_is_saturated() {
    // 2 ms of work for each of 2,000 messages a second: it is late whoever else runs.
    let result = direct(
        "slow",
        serve(None),
        &["--rate", "2000", "--burn-us", "2000"],
    );
    assert_eq!(result["saturated"].as_bool(), Some(true), "{result}");
    let result = direct("easy", serve(None), &["--rate", "50"]);
    assert_eq!(result["saturated"].as_bool(), Some(false), "{result}");
}

#[test]
fn several_processes_start_together_and_count_every_message_once() {
    let two = ["--processes", "2"];
    let result = direct("two", serve(None), &[&two[..], &["--window", "8"]].concat());
    assert_eq!(result["connections"].as_u64(), Some(4));
    assert!(result["messages"].as_u64() > Some(0), "{result}");
    for nothing in ["lost", "surplus", "unanswered", "own_unseen", "failed"] {
        assert_eq!(result[nothing].as_i64(), Some(0), "{nothing}: {result}");
    }
    let seconds = result["per_second"].as_array().expect("rates");
    assert_eq!(seconds.len(), 1, "{result}");
}

#[test]
fn one_saturated_process_of_several_makes_the_result_saturated() {
    let result = direct(
        "slow-two",
        serve(None),
        &["--processes", "2", "--rate", "2000", "--burn-us", "3000"],
    );
    assert_eq!(result["saturated"].as_bool(), Some(true), "{result}");
}
