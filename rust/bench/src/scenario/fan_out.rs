//! `fanout`: connection 0 sends to a group of all others, which count what arrives.

use std::collections::VecDeque;

use imfast_wire::frames::client::{ClientFrame, Group, Target, Verb};
use imfast_wire::frames::server::ServerBody;
use serde_json::{Value, json};

use super::loops::{Phase, Phases};
use super::message::Messages;
use crate::failure::Failure;
use crate::measure::{Latencies, burn, now_ns};
use crate::options::Options;
use crate::pace::Pace;
use crate::poller::Ready;
use crate::pool::{Pool, User};
use crate::transport::{Kind, Transport};

const PUBLISHER: usize = 0;
/// Members named in one request: the server's limit.
const MEMBERS_PER_CALL: usize = 1000;
const SETUP_NS: u64 = 30_000_000_000;

/// What arrived.
struct Arrivals {
    /// Messages at each connection; the publisher's own stay 0.
    received: Vec<u64>,
    total: u64,
    /// That subscribers read, framing and other frames included.
    bytes: u64,
    acked: u64,
    failed: u64,
    first_error: Option<String>,
    /// Intended times in an open loop; the first is message number `dropped`.
    intended: VecDeque<u64>,
    dropped: u64,
    latencies: Latencies,
    measure_from_ns: u64,
}

pub(crate) fn run<T: Transport>(
    transport: T,
    mut pool: Pool<T>,
    options: &Options,
    users: &[User],
) -> Result<Value, Failure> {
    let group = create_group(transport, &mut pool, users)?;
    let subscribers = (pool.len() - 1) as u64;
    let mut messages = Messages::new(options);
    let mut arrivals = Arrivals::new(pool.len());
    let mut phases = Phases::new(options);
    let mut pace = options.rate.map(|rate| Pace::new(now_ns(), rate));
    let (mut events, mut sent) = (Vec::new(), 0u64);
    let (mut from, mut to) = (Mark::default(), Mark::default());
    let mut lag = Latencies::new();
    while phases.phase != Phase::Over {
        let now = now_ns();
        let settled = arrivals.total >= sent * subscribers && arrivals.done() >= sent;
        if phases.advance(now, settled) {
            match phases.phase {
                Phase::Measured => {
                    from = Mark::of(&arrivals, &pool)?;
                    arrivals.measure_from_ns = now;
                }
                Phase::Drain => {
                    to = Mark::of(&arrivals, &pool)?;
                    phases.note_pace(pace.as_ref());
                }
                _ => {}
            }
        }
        if phases.sending() {
            let mut due = Vec::new();
            if let Some(pace) = &mut pace {
                due.extend(std::iter::from_fn(|| pace.take(now)).map(|(_, at_ns)| at_ns));
            } else {
                let done = arrivals.done().min(arrivals.total / subscribers);
                due.resize((options.window.saturating_sub(sent - done)) as usize, now);
            }
            send(
                &mut pool,
                &mut messages,
                &group,
                options,
                &mut sent,
                due.len(),
            )?;
            if pace.is_some() {
                let after = now_ns();
                for at_ns in due {
                    lag.record(after - at_ns);
                    arrivals.intended.push_back(at_ns);
                }
            }
        }
        let until = pace.as_ref().map_or(u64::MAX, Pace::next_ns);
        pool.wait(phases.until_ns.min(until).max(now), &mut events)?;
        for event in &events {
            let at = event.index.unwrap_or(0);
            let now = if pace.is_some() { now_ns() } else { 0 };
            let bytes = pool.handle(*event, |frame| arrivals.take(transport, at, frame, now))?;
            if at != PUBLISHER {
                arrivals.bytes += bytes as u64;
            }
        }
        arrivals.forget_old(pace.is_some());
    }
    let reading = phases
        .reading
        .ok_or_else(|| Failure::Said("no measured time".into()))?;
    let delivered = to.delivered - from.delivered;
    let acked = to.acked - from.acked;
    let per_delivery = |from: u64, to: u64| (to - from) as f64 / delivered.max(1) as f64;
    let mut result = reading.fields();
    result["subscribers"] = json!(subscribers);
    result["delivered"] = json!(delivered);
    result["delivered_per_second"] = json!(delivered as f64 / reading.seconds);
    result["acked_per_second"] = json!(acked as f64 / reading.seconds);
    result["wire_bytes_per_frame"] = json!(per_delivery(from.bytes, to.bytes));
    result["frames_per_send"] = json!(1.0 / per_delivery(from.segments, to.segments));
    result["server_cpu_us_per_delivery"] =
        json!(reading.server_cpu_seconds * 1e6 / delivered.max(1) as f64);
    let expected = (sent - arrivals.failed) * subscribers;
    result["lost"] = json!(expected as i64 - arrivals.total as i64);
    result["failed"] = json!(arrivals.failed);
    result["first_error"] = json!(arrivals.first_error);
    if pace.is_some() {
        result["latency"] = arrivals.latencies.fields();
        result["send_lag"] = lag.fields();
    }
    Ok(result)
}

/// Counts at one moment.
#[derive(Default)]
struct Mark {
    delivered: u64,
    acked: u64,
    bytes: u64,
    /// Segments that the subscribers received, of all time.
    segments: u64,
}

impl Mark {
    fn of<T: Transport>(arrivals: &Arrivals, pool: &Pool<T>) -> Result<Self, Failure> {
        let segments = (PUBLISHER + 1..pool.len()).map(|index| pool.segments_received(index));
        Ok(Self {
            delivered: arrivals.total,
            acked: arrivals.acked,
            bytes: arrivals.bytes,
            segments: segments.sum::<Result<u64, Failure>>()?,
        })
    }
}

fn send<T: Transport>(
    pool: &mut Pool<T>,
    messages: &mut Messages,
    group: &str,
    options: &Options,
    sent: &mut u64,
    count: usize,
) -> Result<(), Failure> {
    let mut batch = pool.batch();
    for left in (0..count).rev() {
        *sent += 1;
        burn(options.burn);
        batch.add(&messages.next(*sent, Target::Group(group.into())));
        if !options.batch || left == 0 {
            batch.send(PUBLISHER)?;
        }
    }
    Ok(())
}

impl Arrivals {
    fn new(connections: usize) -> Self {
        Self {
            received: vec![0; connections],
            total: 0,
            bytes: 0,
            acked: 0,
            failed: 0,
            first_error: None,
            intended: VecDeque::new(),
            dropped: 0,
            latencies: Latencies::new(),
            measure_from_ns: u64::MAX,
        }
    }

    /// Requests that have their answer.
    fn done(&self) -> u64 {
        self.acked + self.failed
    }

    #[inline]
    fn take<T: Transport>(&mut self, transport: T, at: usize, frame: &[u8], now_ns: u64) {
        if transport.kind(frame) == Kind::Message {
            if at != PUBLISHER {
                self.received[at] += 1;
                self.total += 1;
                if now_ns != 0 {
                    self.record(at, now_ns);
                }
            }
        } else if at == PUBLISHER {
            self.answer(transport, frame);
        }
    }

    /// Messages of one group arrive in the order in which they were sent, so the n-th to arrive
    /// is the n-th that was sent.
    fn record(&mut self, at: usize, now_ns: u64) {
        let index = (self.received[at] - 1).wrapping_sub(self.dropped);
        if let Some(&intended) = self.intended.get(index as usize)
            && intended >= self.measure_from_ns
        {
            self.latencies.record(now_ns.saturating_sub(intended));
        }
    }

    fn answer<T: Transport>(&mut self, transport: T, frame: &[u8]) {
        let mut rows = Vec::new();
        match transport.decode(frame, &mut rows).map(|frame| frame.body) {
            Ok(ServerBody::Sent { .. }) => self.acked += 1,
            Ok(ServerBody::Error { name, message, .. }) => {
                self.failed += 1;
                self.first_error
                    .get_or_insert_with(|| format!("{name}: {message}"));
            }
            Ok(_) => {}
            Err(error) => {
                self.first_error.get_or_insert(error);
            }
        }
    }

    /// Drops the intended times of messages that everybody has.
    fn forget_old(&mut self, open_loop: bool) {
        const OFTEN_ENOUGH: usize = 4096;
        if open_loop && self.intended.len() > OFTEN_ENOUGH {
            let slowest = self.received.iter().skip(1).min().copied().unwrap_or(0);
            while self.dropped < slowest && self.intended.pop_front().is_some() {
                self.dropped += 1;
            }
        }
    }
}

/// Creates a group of all users; returns its conversation once every member is in it.
fn create_group<T: Transport>(
    transport: T,
    pool: &mut Pool<T>,
    users: &[User],
) -> Result<String, Failure> {
    let members: Vec<_> = users
        .iter()
        .skip(1)
        .map(|user| (&*user.name).into())
        .collect();
    let mut group = String::new();
    for (call, chunk) in members.chunks(MEMBERS_PER_CALL).enumerate() {
        let key = format!("bench-{:x}", now_ns()).into();
        let action = if call == 0 {
            Group::Create {
                key,
                title: "".into(),
                members: chunk.to_vec(),
                open: false,
            }
        } else {
            let conversation = group.clone().into();
            Group::Add {
                conversation,
                key,
                users: chunk.to_vec(),
            }
        };
        let id = call as u64 + 1;
        pool.send(
            PUBLISHER,
            &ClientFrame {
                id,
                verb: Verb::Group(action),
            },
        )?;
        group = group_answer(transport, pool, id)?;
    }
    Ok(group)
}

fn group_answer<T: Transport>(
    transport: T,
    pool: &mut Pool<T>,
    id: u64,
) -> Result<String, Failure> {
    let give_up_ns = now_ns() + SETUP_NS;
    let mut events: Vec<Ready> = Vec::new();
    let mut answer = None;
    while now_ns() < give_up_ns {
        pool.wait(give_up_ns, &mut events)?;
        for event in &events {
            pool.handle(*event, |bytes| {
                if event.index != Some(PUBLISHER) {
                    return;
                }
                let mut rows = Vec::new();
                match transport.decode(bytes, &mut rows) {
                    Ok(frame) if frame.id == id => {
                        answer = Some(match frame.body {
                            ServerBody::Group { conversation, .. } => Ok(conversation.into_owned()),
                            other => Err(format!("group was answered with {other:?}")),
                        });
                    }
                    Ok(_) => {}
                    Err(error) => answer = Some(Err(error)),
                }
            })?;
        }
        if let Some(answer) = answer {
            return answer.map_err(Failure::Said);
        }
    }
    Err(Failure::Said("no answer to group".into()))
}
