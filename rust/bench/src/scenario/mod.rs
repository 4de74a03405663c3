//! What a run does: one file a scenario, one line in [`scenarios`].

mod connect;
mod direct;
mod fan_out;
mod group;
mod groups;
mod idle;
mod loops;
mod message;
mod mix;
mod mixed;
mod sink;
mod slow_consumers;
mod storm;
mod users;
mod verify;

use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

use serde_json::{Map, Value, json};

use crate::board::Board;
use crate::failure::Failure;
use crate::lines;
use crate::measure::{Meter, Reading, now_ns};
use crate::options::Options;
use crate::pool::{Pool, User};
use crate::result::Outcome;
use crate::transport::Transport;

/// What a scenario has to work with.
pub(crate) struct Stage<'a, T> {
    pub transport: T,
    /// Open connections of `users`, in their order.
    pub pool: Pool<T>,
    pub options: &'a Options,
    /// Those of this process.
    pub users: Rc<[User]>,
    /// Number of the first of them among those of all processes.
    pub first: usize,
    /// Those of all processes.
    pub everybody: Rc<[User]>,
    /// What the processes tell each other; none: there is but this one.
    pub board: Option<Board>,
    /// When the run begins, in nanoseconds of the monotonic clock: the same in all processes.
    pub start_ns: u64,
    /// CPU time while the connections were opened.
    pub opening: Reading,
}

/// A scenario. Its functions say what the frame around a run has to know of it.
pub(crate) trait Scenario {
    /// What is made before the common start, and part of nothing that is measured.
    type Prepared;

    /// Further users that `connections` does not count; all are in the first process.
    fn apart(_: &Options) -> usize {
        0
    }

    /// The first of those apart, which only send.
    fn senders(_: &Options) -> usize {
        0
    }

    /// Connections that need each other, and so share a process.
    fn block(_: &Options) -> usize {
        1
    }

    /// Whether several processes start together before they open their connections.
    const OPENING_IS_WORK: bool = false;

    /// Whether it makes its connections itself, because they are to come back when they break.
    const CONNECTS_ITSELF: bool = false;

    /// Makes what the run needs.
    fn prepare<T: Transport>(stage: &mut Stage<'_, T>) -> Result<Self::Prepared, Failure>;

    /// Works the connections; returns what this process counted.
    fn run<T: Transport>(stage: Stage<'_, T>, prepared: Self::Prepared)
    -> Result<Outcome, Failure>;

    /// Adds to the result what follows from the counts of all processes.
    fn derive(_: &Outcome, _: &mut Map<String, Value>) {}
}

/// The one list of scenarios: the first argument, the type, a line of help.
macro_rules! scenarios {
    ($($name:literal => $scenario:path, $about:literal;)+) => {
        /// Names and a line about each.
        pub(crate) const ABOUT: &[(&str, &str)] = &[$(($name, $about)),+];

        /// Runs the scenario of `options`.
        pub(crate) fn play<T: Transport>(
            transport: T,
            options: &Options,
        ) -> Result<Outcome, Failure> {
            match options.scenario {
                $($name => act::<$scenario, T>(transport, options),)+
                other => Err(Failure::Said(format!("no scenario {other}"))),
            }
        }

        /// Adds what follows from the counts.
        pub(crate) fn derive(name: &str, outcome: &Outcome, fields: &mut Map<String, Value>) {
            match name {
                $($name => <$scenario>::derive(outcome, fields),)+
                _ => {}
            }
        }
    };
}

scenarios! {
    "fanout" => fan_out::FanOut, "publishers send to a group of all others";
    "direct" => direct::Direct, "pairs send to each other";
    "group" => group::Group, "every member of every group sends to it";
    "mixed" => mixed::Mixed, "requests of several kinds, by --mix";
    "slow-consumers" => slow_consumers::SlowConsumers, "a fan-out beside subscribers that stop reading";
    "idle" => idle::Idle, "connect and hold until standard input ends";
    "connect" => connect::Connect, "connect, and measure that";
    "verify" => verify::Verify, "check every number of every conversation, through crashes";
    "storm" => storm::Storm, "all connections end at once and come back";
    "sink" => sink::Sink, "count what arrives, and send nothing";
}

/// What is the same for all scenarios: users, connections, the common start.
fn act<S: Scenario, T: Transport>(transport: T, options: &Options) -> Result<Outcome, Failure> {
    if !T::SCENARIOS.is_empty() && !T::SCENARIOS.contains(&options.scenario) {
        let (transport, some) = (options.transport, T::SCENARIOS.join(", "));
        let (text, wanted) = (
            "its connections do not both send and receive",
            options.scenario,
        );
        return Err(Failure::Said(format!(
            "no {wanted} over {transport}: {text}; only {some}"
        )));
    }
    let everybody: Rc<[User]> = users::all::<S, T>(options)?.into();
    let own = users::share::<S>(options, everybody.len());
    let users: Rc<[User]> = everybody.get(own.clone()).unwrap_or_default().into();
    if S::OPENING_IS_WORK {
        lines::event("ready", json!({ "connections": 0 }));
        start(options)?;
    }
    let meter = Meter::start(&options.server_pids);
    let Range { start: first, .. } = own;
    let pooled = if S::CONNECTS_ITSELF {
        Rc::from([])
    } else {
        Rc::clone(&users)
    };
    let pool = Pool::open(transport, options, pooled, first, everybody.len())?;
    let opening = meter.read();
    let mut stage = Stage {
        transport,
        pool,
        options,
        users,
        first,
        everybody,
        board: options
            .board
            .as_deref()
            .map(|path| open_board(path, options))
            .transpose()?,
        start_ns: now_ns(),
        opening,
    };
    let prepared = S::prepare(&mut stage)?;
    if !S::OPENING_IS_WORK {
        lines::event("ready", connections(&stage.pool));
        stage.start_ns = start(options)?;
    }
    S::run(stage, prepared)
}

fn open_board(path: &Path, options: &Options) -> Result<Board, Failure> {
    Board::open(path, options.share.unwrap_or(0), options.processes)
}

/// Waits until this process may begin; returns since when. Who starts several processes tells
/// all the same time.
fn start(options: &Options) -> Result<u64, Failure> {
    if options.share.is_some() {
        let line = lines::wait_for_input().unwrap_or_default();
        let time = line
            .strip_prefix("go ")
            .and_then(|time| time.trim().parse().ok());
        return time.ok_or_else(|| Failure::Said("not told to go".into()));
    }
    if options.wait {
        lines::wait_for_input();
    }
    Ok(now_ns())
}

fn connections<T: Transport>(pool: &Pool<T>) -> Value {
    json!({
        "connections": pool.len(),
        "seconds": pool.opened.seconds,
        "elsewhere": pool.opened.elsewhere,
        "servers": pool.opened.servers,
    })
}

impl<T: Transport> Stage<'_, T> {
    /// This process's part of something that all connections share alike.
    pub(crate) fn share_of(&self, all: f64) -> f64 {
        all * self.users.len() as f64 / self.everybody.len() as f64
    }

    /// An outcome with what is the same in all scenarios.
    pub(crate) fn outcome(&self) -> Outcome {
        Outcome {
            reading: self.opening,
            connections: self.pool.len() as u64,
            servers: self.pool.opened.servers.clone(),
            ..Outcome::default()
        }
    }
}
