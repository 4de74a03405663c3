//! `connect`: opening connections is the work.

use serde_json::{Value, json};

use crate::pool::{Opened, Pool};
use crate::transport::Transport;

pub(crate) fn result<T: Transport>(pool: &Pool<T>, opened: &Opened) -> Value {
    json!({
        "connections": pool.len(),
        "seconds": opened.seconds,
        "per_second": pool.len() as f64 / opened.seconds,
        "latency": opened.latencies.fields(),
    })
}
