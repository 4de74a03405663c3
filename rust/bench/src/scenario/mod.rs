//! What a run does: one file a scenario.

mod connect;
mod direct;
mod fan_out;
mod idle;
mod loops;
mod message;

use std::fs;

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::lines;
use crate::options::{Options, ScenarioName};
use crate::pool::{Opened, Pool, User};
use crate::transport::Transport;

/// Runs the scenario; returns its result.
pub(crate) fn run<T: Transport>(transport: T, options: &Options) -> Result<Value, Failure> {
    let users = users(options)?;
    let (pool, opened) = Pool::open(transport, options, &users)?;
    lines::event("ready", connections(&pool, &opened));
    if options.wait {
        lines::wait_for_input();
    }
    let mut result = match options.scenario {
        ScenarioName::FanOut => fan_out::run(transport, pool, options, &users)?,
        ScenarioName::Direct => direct::run(transport, pool, options, &users)?,
        ScenarioName::Idle => idle::run(pool, opened.heartbeat_ms)?,
        ScenarioName::Connect => connect::result(&pool, &opened),
    };
    result["servers"] = json!(opened.servers);
    Ok(result)
}

fn connections<T: Transport>(pool: &Pool<T>, opened: &Opened) -> Value {
    json!({
        "connections": pool.len(),
        "seconds": opened.seconds,
        "elsewhere": opened.elsewhere,
        "servers": opened.servers,
    })
}

/// The users of the token file, as many as connections are wanted.
fn users(options: &Options) -> Result<Vec<User>, Failure> {
    let path = options.tokens.display();
    let text = fs::read_to_string(&options.tokens)
        .map_err(|error| Failure::Said(format!("{path}: {error}")))?;
    let mut users = Vec::new();
    for line in text.lines() {
        let Some((name, token)) = line.split_once([' ', '\t']) else {
            return Err(Failure::Said(format!("{path}: a line is `user token`")));
        };
        users.push(User {
            name: name.into(),
            token: token.into(),
        });
    }
    if let Some(connections) = options.connections {
        // The publisher of a fan-out is no subscriber.
        let wanted = connections + usize::from(options.scenario == ScenarioName::FanOut);
        if users.len() < wanted {
            return Err(Failure::Said(format!(
                "{path}: {} lines, {wanted} needed",
                users.len()
            )));
        }
        users.truncate(wanted);
    }
    Ok(users)
}
