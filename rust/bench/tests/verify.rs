//! `verify` and `storm` find what they are there to find: each test breaks one promise once.

mod service;

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use service::{Fault, Service};

/// Runs a scenario with six users; returns its exit status and result.
fn run(scenario: &str, name: &str, port: u16, arguments: &[&str]) -> (bool, Value) {
    let tokens = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let lines = "u0 u0\nu1 u1\nu2 u2\nu3 u3\nu4 u4\nu5 u5\n";
    std::fs::write(&tokens, lines).expect("a writable directory");
    let done = Command::new(env!("CARGO_BIN_EXE_imfast-bench"))
        .args([scenario, "--transport", "tcp", "--port", &port.to_string()])
        .arg("--tokens")
        .arg(tokens)
        .args(arguments)
        .output()
        .expect("the generator");
    let output = String::from_utf8_lossy(&done.stdout);
    let error = String::from_utf8_lossy(&done.stderr);
    let last = output
        .lines()
        .last()
        .unwrap_or_else(|| panic!("no result: {error}"));
    (
        done.status.success(),
        serde_json::from_str(last).expect("JSON"),
    )
}

fn verify(name: &str, fault: Option<(Fault, u64)>) -> (bool, Value, Service) {
    let service = Service::start(fault);
    let arguments = [
        "--rate",
        "400",
        "--seconds",
        "0.8",
        "--groups",
        "2",
        "--members",
        "4",
    ];
    let (is_right, result) = run(
        "verify",
        name,
        service.port,
        &[&arguments[..], &["--drain", "2"]].concat(),
    );
    (is_right, result, service)
}

/// A fault is the only finding, and the finding names it.
fn is_found(fault: Fault, kind: &str) {
    let (is_right, result, service) = verify(&format!("{fault:?}"), Some((fault, 200)));
    assert!(!is_right, "{result}");
    for one in [
        "lost",
        "repeated",
        "reordered",
        "skipped",
        "duplicated",
        "conflicting",
    ] {
        assert_eq!(result[one], u64::from(one == kind), "{one}: {result}");
    }
    let hit = service.hit().expect("the fault happened");
    let [finding] = result["findings"].as_array().expect("a list").as_slice() else {
        panic!("one finding: {result}")
    };
    assert_eq!(finding["kind"], kind, "{result}");
    assert_eq!(finding["user"], hit.user, "{result}");
    assert_eq!(finding["conversation"], hit.conversation, "{result}");
    assert_eq!(finding["seq"], hit.seq, "{result}");
}

#[test]
fn a_delivery_that_is_lost_is_found() {
    is_found(Fault::Lose, "lost");
}

#[test]
fn a_delivery_that_comes_twice_is_found() {
    is_found(Fault::Repeat, "repeated");
}

#[test]
fn deliveries_that_are_swapped_are_found() {
    is_found(Fault::Swap, "reordered");
}

#[test]
fn a_delivery_with_another_id_is_found() {
    let (is_right, result, service) = verify("alter", Some((Fault::Alter, 200)));
    assert!(!is_right, "{result}");
    let hit = service.hit().expect("the fault happened");
    // Who was shown the other id first decides who of the two is found to differ.
    let findings = result["findings"].as_array().expect("a list");
    assert!(!findings.is_empty(), "{result}");
    for finding in findings {
        assert_eq!(finding["kind"], "conflicting", "{result}");
        assert_eq!(finding["conversation"], hit.conversation, "{result}");
        assert_eq!(finding["seq"], hit.seq, "{result}");
    }
}

#[test]
fn a_send_that_is_numbered_twice_is_found() {
    is_found(Fault::Number, "duplicated");
}

#[test]
fn a_run_without_a_fault_finds_nothing_and_has_counted_everything() {
    let (is_right, result, _) = verify("clean", None);
    assert!(is_right, "{result}");
    assert_eq!(result["wrong"], false);
    assert_eq!(result["findings"].as_array().map(Vec::len), Some(0));
    let sent = result["sent"].as_u64().expect("a number");
    assert!((300..=320).contains(&sent), "{result}");
    assert_eq!(result["acknowledged"], sent);
    assert!(result["latency"]["count"].as_u64() > Some(sent), "{result}");
    // The events of two groups are rows too.
    assert_eq!(result["history_rows"], sent + 2, "{result}");
}

#[test]
fn connections_that_break_all_the_time_are_no_finding() {
    let (is_right, result, _) = verify("breaks", Some((Fault::Break { every: 20 }, 0)));
    assert!(is_right, "{result}");
    assert!(result["breaks"].as_u64() > Some(10), "{result}");
    assert!(result["again"].as_u64() > Some(0), "{result}");
    assert!(result["outages"]["count"].as_u64() > Some(10), "{result}");
}

#[test]
fn a_storm_tells_when_all_were_back_with_what_they_had_missed() {
    let service = Service::start(None);
    let arguments = ["--bystanders", "2", "--warmup", "0.2", "--away", "0.2"];
    let (is_right, result) = run("storm", "storm", service.port, &arguments);
    assert!(is_right, "{result}");
    assert_eq!(result["returned"], 4, "{result}");
    assert_eq!(result["back"]["count"], 4, "{result}");
    assert!(
        result["bystanders_storm"]["count"].as_u64() > Some(0),
        "{result}"
    );
    // One for each who was away, beside those of the bystanders to each other.
    let between = result["bystanders_calm"]["count"]
        .as_u64()
        .expect("a number");
    assert!(
        result["delivered"].as_u64() > Some(2 * between + 4),
        "{result}"
    );
}

#[test]
fn a_storm_may_be_the_servers_own() {
    let service = Service::start(Some((Fault::Break { every: 50 }, 0)));
    let arguments = [
        "--bystanders",
        "4",
        "--warmup",
        "0",
        "--by-server",
        "--drain",
        "3",
    ];
    let (is_right, result) = run("storm", "by-server", service.port, &arguments);
    assert!(is_right, "{result}");
    assert!(result["returned"].as_u64() > Some(0), "{result}");
}
